"""Which clips a training set consists of."""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from ..types import Clip

_SQLITE = b"SQLite format 3\0"  # how its files begin

LIST_REMEDY = "correct data.train_fileslist, or write a list by scripts.write_fileslist"


@dataclass(frozen=True)
class TrainingClip:
    """A clip that was found usable, and what was made of it."""

    clip: Clip
    n_frames: int  # that can be decoded
    mel: Path  # .npy, (80, T) float32
    features: Path | None = None  # .npy, (steps, layers + 1, d) float16: Whisper's
    frames: Path | None = None  # .npy, (n, r, r, 3) uint8 RGB: all n_frames, or so many as were asked for
    latents: Path | None = None  # .npy, (n_frames, 2, 2, 4, h, w) float16, as LatentEncoder gives them


def find_clips(folder: str | Path = "", fileslist: str | Path = "") -> list[Clip]:
    """The clips of a list if one is given, else the *.mp4 files of a folder and its subfolders, sorted.

    A list is a text file with a path per line (# starts a comment), or the data pipeline's manifest, of which
    the kept clips are taken. Paths are relative to the list; each clip comes once, in the list's order.
    Raises ConfigError where there is no clip.
    """
    if fileslist:
        listing = Path(fileslist)
        paths, base = _listed(listing), listing.parent
    elif folder:
        paths, base = mp4_files(Path(folder)), Path(folder)
    else:
        raise ConfigError("no clips are named; set data.train_fileslist or data.train_data_dir")
    base = Path(os.path.abspath(base))
    unique = dict.fromkeys(Path(os.path.abspath(base / path)) for path in paths)
    return [Clip(_key(path, base), path) for path in unique]


def mp4_files(folder: Path) -> list[Path]:
    """The *.mp4 files of a folder and its subfolders, sorted, absolute. Raises ConfigError where there are none."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder; name one that holds the clips")
    folder = Path(os.path.abspath(folder))
    # A name with a dot in front, of a file or a folder, belongs to something that is still being written.
    found = sorted(path for path in folder.rglob("*.mp4") if not _is_hidden(path.relative_to(folder)))
    if not found:
        raise ConfigError(f"{folder} holds no .mp4 file; name the folder of the clips")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _key(path: Path, base: Path) -> str:
    return (path.relative_to(base) if path.is_relative_to(base) else path).as_posix()


def _listed(listing: Path) -> Iterable[str]:
    try:
        with listing.open("rb") as file:
            is_manifest = file.read(len(_SQLITE)) == _SQLITE
        paths = _kept(listing) if is_manifest else read_lines(listing)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{listing} cannot be read as a list of clips ({reason}); {LIST_REMEDY}") from error
    except sqlite3.Error as error:
        raise ConfigError(f"{listing} is not a manifest of the data pipeline ({error}); {LIST_REMEDY}") from error
    if not paths:
        raise ConfigError(f"{listing} lists no clip; {LIST_REMEDY}")
    return paths


def read_lines(listing: Path) -> list[str]:
    """The lines of a text but for empty ones and comments, without spaces around them.

    Raises OSError or UnicodeDecodeError.
    """
    lines = (line.strip() for line in listing.read_text(encoding="utf-8-sig").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _kept(manifest: Path) -> list[str]:
    with closing(sqlite3.connect(f"{manifest.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT path FROM clips WHERE fate = 'kept' ORDER BY path")
        return [path for (path,) in rows]
