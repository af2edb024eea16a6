"""Videos that are measured, and what they are compared with."""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from latentsync.errors import ConfigError
from latentsync.processing.command import absolute
from latentsync.processing.piece import Piece, state

from .pairs import read_table


@dataclass(frozen=True)
class Result(Piece):
    """A video whose lips were made; `path` is the video, `key` its name in the report.

    Args:
        video: what it was made from; None: not known.
        audio: what it was made to say, used where it has no sound of its own.
        truth: the same person really saying that.
    """

    video: Path | None = field(default=None, kw_only=True)
    audio: Path | None = field(default=None, kw_only=True)
    truth: Path | None = field(default=None, kw_only=True)

    def fingerprint(self) -> str:
        """Differs where any of the files does; a missing one differs from any other."""
        return ", ".join(state(path) for path in (self.path, self.video, self.audio, self.truth) if path)


def read_results(path: Path) -> list[Result]:
    """The videos that the column `out` of a table names, with what its columns video, audio and truth say of them.

    It may be the pairs.csv of `eval.inference_videos`. All paths are relative to the table. A video whose sound is its
    own is a reconstruction: it is the truth. Raises ConfigError with file and line.
    """
    results: list[Result] = []
    lines: dict[str, int] = {}
    for line, values in read_table(path, needs=("out",)):
        name = PurePosixPath(values["out"])
        key = name.name if name.is_absolute() or ".." in name.parts else str(name)
        if (earlier := lines.setdefault(key.casefold(), line)) != line:
            raise ConfigError(f"{path}, line {line}: {key} is named in line {earlier} too; give them different names")
        out, video, audio, truth = (
            absolute(path.parent / values[column]) if column in values else None
            for column in ("out", "video", "audio", "truth")
        )
        results.append(Result(key, out, video=video, audio=audio, truth=truth or (video if audio == video else None)))
    return results
