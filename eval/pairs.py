"""Which videos go with which sounds, and what the results are called."""

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from latentsync.data.clips import read_lines
from latentsync.errors import ConfigError
from latentsync.files import atomic_path
from latentsync.media.ffmpeg import CONTAINERS
from latentsync.processing.command import absolute
from latentsync.processing.piece import Piece, state

COLUMNS = ("video", "audio", "out", "truth")
_MAX_BYTES = 200  # of a name that is made up; file systems allow 255, temporary files need some of them


@dataclass(frozen=True)
class Pair(Piece):
    """A video and the sound that its lips shall follow; the key is the result's name, a path below the output folder.

    It is what a stage is given, not what it makes: that is a `Piece`, which the manifest can read.
    """

    audio: Path = field(kw_only=True)
    truth: Path | None = field(default=None, kw_only=True)  # what the result should be, for `eval.report`

    def fingerprint(self) -> str:
        """Differs where either file does. A file that is missing differs from any other, so it never raises."""
        return f"{state(self.path)}, {state(self.audio)}"


class Named(NamedTuple):
    """A pair as a user wrote it, with absolute paths."""

    video: Path
    audio: Path
    out: str | None = None  # None: a name is made of the other two
    truth: Path | None = None


def draw_pairs(videos: Sequence[Path], audios: Sequence[Path], seed: int) -> list[Named]:
    """Pairs at random, as many as the shorter list has: the draws of the public version, with the same result."""
    draw, videos, audios = random.Random(seed), list(videos), list(audios)
    draw.shuffle(videos)
    draw.shuffle(audios)
    n_pairs = min(len(videos), len(audios))
    videos, audios = videos[:n_pairs], audios[:n_pairs]
    draw.shuffle(videos)
    draw.shuffle(audios)
    return [Named(video, audio) for video, audio in zip(videos, audios, strict=True)]


def read_list(path: Path) -> list[Path]:
    """The files that a text names, one in each line, relative to it. Raises ConfigError."""
    try:
        lines = read_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if not lines:
        raise ConfigError(f"{path} names no file; expected one in each line")
    return [absolute(path.parent / line) for line in lines]


def read_pairs(path: Path) -> list[Named]:
    """The pairs of a table with the columns video, audio and, if wanted, out and truth, with or without a line of them.

    Videos and sounds are relative to the table, results to the output folder. Raises ConfigError with file and line.
    """
    pairs: list[Named] = []
    lines: dict[str, int] = {}  # of the results that are named
    for line, values in read_table(path, needs=("video", "audio")):
        pair = _pair(values, path.parent, f"{path}, line {line}")
        if pair.out and (earlier := lines.setdefault(pair.out.casefold(), line)) != line:
            where = f"{path}, line {line}"
            raise ConfigError(f"{where}: {pair.out} is the result of line {earlier} too; choose another name")
        pairs.append(pair)
    return pairs


def read_table(path: Path, needs: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The lines of a table with their numbers, values by COLUMNS; a line that names the columns may come first.

    Raises ConfigError with file and line where one of those that it `needs` is missing.
    """
    columns: Sequence[str] = COLUMNS
    found: list[tuple[int, dict[str, str]]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True, skipinitialspace=True)
            for number, row in enumerate(filter(None, rows)):
                if number == 0 and set(needs) <= set(row) <= set(COLUMNS):
                    columns = row
                    continue
                values = {name: value for name, value in zip(columns, row, strict=False) if value}
                if len(row) > len(columns) or not set(needs) <= set(values):
                    raise ConfigError(
                        f"{path}, line {rows.line_num}: expected {','.join(columns)}, got {','.join(row)}"
                    )
                found.append((rows.line_num, values))
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    except csv.Error as error:
        raise ConfigError(f"{path}, line {rows.line_num}: {error}; correct the quotes") from error
    if not found:
        raise ConfigError(f"{path} has no pair; expected lines with {','.join(columns)}")
    return found


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """A table that `read_pairs` reads: the inputs' absolute paths, and the results relative to its folder."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        columns = COLUMNS if any(pair.truth for pair in pairs) else COLUMNS[:-1]
        rows.writerow(columns)
        rows.writerows((pair.path, pair.audio, pair.key, pair.truth)[: len(columns)] for pair in pairs)


def name_pairs(named: Sequence[Named]) -> list[Pair]:
    """Give each pair its own result, by default VIDEO__AUDIO.mp4; one whose name is taken gets a number."""
    taken = {pair.out.casefold() for pair in named if pair.out}
    pairs = []
    for video, audio, out, truth in named:
        if out is None:
            out = _free(f"{video.stem}__{audio.stem}", taken)
        pairs.append(Pair(out, video, audio=audio, truth=truth))
    return pairs


def check_results(pairs: Iterable[Pair], folder: Path) -> None:
    """Raise ConfigError where the result of a pair would take the place of an input of any."""
    inputs = {path.resolve() for pair in pairs for path in (pair.path, pair.audio)}
    for pair in pairs:
        if (folder / pair.key).resolve() in inputs:
            raise ConfigError(f"{folder / pair.key} is an input too and would be lost; choose another --out_dir")


def _pair(values: dict[str, str], folder: Path, where: str) -> Named:
    out = values.get("out")
    if out is not None:
        name = PurePosixPath(out)
        if name.is_absolute() or ".." in name.parts:
            raise ConfigError(f"{where}: {out} lies outside of the output folder; expected a name below it")
        if name.suffix.lower() not in CONTAINERS:
            raise ConfigError(f"{where}: {out} is no result; expected a name ending in {', '.join(CONTAINERS)}")
        out = str(name)
    video, audio, truth = (
        absolute(folder / values[name]) if name in values else None for name in ("video", "audio", "truth")
    )
    return Named(video, audio, out, truth)


def _free(stem: str, taken: set[str]) -> str:
    """A name that no other result has, nor will have; it is taken then."""
    stem = stem.encode(errors="surrogateescape")[:_MAX_BYTES].decode(errors="ignore")
    name, number = f"{stem}.mp4", 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}_{number}.mp4"
    taken.add(name.casefold())
    return name


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> ConfigError:
    reason = getattr(error, "strerror", None) or "not UTF-8 text"
    return ConfigError(f"{path} cannot be read ({reason}); name a text file")
