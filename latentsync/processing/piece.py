"""A stretch of a video, which may have no file of its own yet."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from latentsync.types import Clip


@dataclass(frozen=True)
class Piece(Clip):
    """Frames `first` ... `first + n_frames` of the file `path`, counted at 25 frames/s.

    Stages that only choose make no file: they pass on where in a source a clip lies, so that it is decoded from the
    source and encoded once. A file that was made from another one knows whence its sound came, so that the sound can
    be moved without a gap.
    """

    first: int = 0
    n_frames: int | None = None  # to the end of the file
    source: Path | None = None  # the file that `path` was made from, None for an original
    source_first: int = 0  # the frame of `source` that frame 0 of `path` is
    delay: int = 0  # frames by which the sound of `path` is later than that of `source`

    @property
    def whole(self) -> bool:
        """Whether it is all of its file."""
        return self.first == 0 and self.n_frames is None

    @property
    def origin(self) -> tuple[Path, int]:
        """The original file and its frame at which this piece begins."""
        return (self.path, self.first) if self.source is None else (self.source, self.source_first + self.first)

    def part(self, suffix: str, first: int, n_frames: int) -> "Piece":
        """A piece of this piece, counted from its start; its key gets the suffix."""
        return replace(self, key=self.key + suffix, first=self.first + first, n_frames=n_frames)

    def measured(self, **metrics: float | str) -> "Piece":
        """The same piece with more known about it."""
        return replace(self, metrics=self.metrics | metrics)

    def delayed(self, n_frames: int) -> "Piece":
        """The same piece with its sound so many frames later; earlier for a negative number."""
        return replace(self, delay=self.delay + n_frames)

    def made(self, path: Path, suffix: str = "", first: int = 0) -> "Piece":
        """The file that was made from this piece, from its frame `first` on."""
        source, start = self.origin
        return replace(
            self, key=self.key + suffix, path=path, first=0, n_frames=None, source=source, source_first=start + first
        )

    def plain(self) -> dict[str, Any]:
        """For JSON; `from_plain` reads it."""
        return asdict(self) | {"path": str(self.path), "source": self.source and str(self.source)}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "Piece":
        return cls(**values | {"path": Path(values["path"]), "source": values["source"] and Path(values["source"])})

    def fingerprint(self) -> str:
        """Differs where the file or the stretch of it differs. Raises OSError."""
        status = self.path.stat()
        return f"{status.st_size} {status.st_mtime_ns} {self.first} {self.n_frames}"


def state(path: Path) -> str:
    """Differs where a file differs; a missing one differs from any other."""
    try:
        return Piece("", path).fingerprint()
    except OSError:
        return "missing"
