"""The files of each run: DATA/runs/ID/ with the inputs under fixed names, and the result."""

import re
import secrets
from pathlib import Path
from shutil import rmtree

from ..media.ffmpeg import VIDEO_SUFFIXES

#: What is kept of a client's name in that of the file, as some formats are told by it.
SUFFIXES = VIDEO_SUFFIXES | {
    *(".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".wma", ".amr", ".ac3"),
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"),
}
RESULT = "result.mp4"
COMPARED = ("before.jpg", "after.jpg")
_ID = re.compile(r"[0-9a-f]{32}")
_UPLOAD = re.compile(r"[0-9a-f]{64}")  # Gradio's names of folders
_LONGEST_NAME = 100


class Storage:
    """Folders of runs below one folder. Nothing that a client names is ever part of a path."""

    def __init__(self, data: Path) -> None:
        self.runs = data.resolve() / "runs"
        self.uploads = data.resolve() / "uploads"  # of the page, before they belong to a run

    def create(self) -> str:
        """A new run's id, which nobody can guess; its folder is there. Raises OSError."""
        id = secrets.token_hex(16)
        self.folder(id).mkdir(parents=True)
        return id

    def folder(self, id: str) -> Path:
        if not _ID.fullmatch(id):
            raise ValueError(f"expected 32 hexadecimal digits, got {id!r}")
        return self.runs / id

    def input(self, id: str, kind: str, name: str) -> Path:
        """Where the "video" or the "audio" of a run lies that its client called `name`."""
        return self.folder(id) / f"{kind}{safe_suffix(name)}"

    def result(self, id: str) -> Path:
        return self.folder(id) / RESULT

    def compared(self, id: str) -> tuple[Path, Path]:
        """A frame as it was and as it became, where a run has such pictures."""
        before, after = COMPARED
        return self.folder(id) / before, self.folder(id) / after

    def clear(self, id: str, *, keep: set[Path]) -> None:
        """Remove everything from a run's folder but some files."""
        folder = self.folder(id)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path not in keep:
                rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def remove(self, id: str) -> None:
        """Remove a run's folder, where there is one."""
        rmtree(self.folder(id), ignore_errors=True)

    def remove_orphans(self, known: set[str]) -> None:
        """Remove the folders of all runs but the known ones. Nothing else that lies there is touched."""
        for folder in self.runs.iterdir() if self.runs.is_dir() else ():
            if _ID.fullmatch(folder.name) and folder.name not in known:
                self.remove(folder.name)

    def remove_uploads(self) -> None:
        """Remove what a server that was killed left of its page's uploads, and nothing else."""
        for folder in self.uploads.iterdir() if self.uploads.is_dir() else ():
            if _UPLOAD.fullmatch(folder.name):
                rmtree(folder, ignore_errors=True)


def safe_suffix(name: str) -> str:
    """The ending of a client's file name in small letters, if it is that of a video, a sound or a picture."""
    suffix = Path(shown_name(name, "")).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def shown_name(name: str, otherwise: str) -> str:
    """A client's file name as messages show it: without folders and control characters, and not too long."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c for c in name if c.isprintable()).strip()
    if len(name) > _LONGEST_NAME:
        name = name[: _LONGEST_NAME - 12] + "..." + name[-9:]
    return (name.strip(".") and name) or otherwise
