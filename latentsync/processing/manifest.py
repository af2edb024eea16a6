"""What became of every clip in every stage, in one SQLite file that outlives any run."""

import json
import platform
import sqlite3
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__
from ..errors import ConfigError
from .piece import Piece
from .stage import KEPT, Outcome, Stage

FORMAT = 1
_PACKAGES = ("torch", "mediapipe", "numpy", "opencv-python", "scenedetect", "av")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, command TEXT NOT NULL, versions TEXT NOT NULL, seconds REAL
);
CREATE TABLE IF NOT EXISTS outcomes (
    stage TEXT NOT NULL, key TEXT NOT NULL,
    input TEXT NOT NULL, parameters TEXT NOT NULL,
    status TEXT NOT NULL, reason TEXT NOT NULL, metrics TEXT NOT NULL, outputs TEXT NOT NULL,
    seconds REAL NOT NULL, cpu_seconds REAL NOT NULL, run INTEGER NOT NULL REFERENCES runs (id),
    PRIMARY KEY (stage, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, stage TEXT NOT NULL, piece TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clips (
    key TEXT PRIMARY KEY, path TEXT NOT NULL, fate TEXT NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
"""


class Manifest:
    """A context manager. One process writes; others may read at any time.

    Tables: `runs` (commands and versions), `outcomes` (one row for each piece that a stage was given), `files` (what
    the stages wrote), `clips` (the fate of the last run's clips, which training reads).
    """

    def __init__(self, path: Path) -> None:
        self.path, self.root = path, path.parent
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, FORMAT):
                raise ConfigError(f"{path} is a manifest of format {found}, expected {FORMAT}; choose another folder")
            self._db.executescript(_SCHEMA + f"PRAGMA user_version = {FORMAT};")
        except sqlite3.Error as error:
            raise ConfigError(f"{path} cannot be used as a manifest ({error}); choose another folder") from error
        self._run: int | None = None

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    # Runs

    def begin(self, command: Sequence[str]) -> None:
        """Open a run: outcomes that follow belong to it."""
        row = (time.strftime("%F %T"), json.dumps(list(command)), json.dumps(versions()))
        self._run = self._db.execute("INSERT INTO runs (started, command, versions) VALUES (?, ?, ?)", row).lastrowid

    def finish(self, seconds: float) -> None:
        self._db.execute("UPDATE runs SET seconds = ? WHERE id = ?", (seconds, self._run))

    def runs(self) -> list[dict]:
        """Number, start, command, versions and seconds of all runs."""
        columns = ("id", "started", "command", "versions", "seconds")
        return [dict(zip(columns, row, strict=True)) for row in self._db.execute("SELECT * FROM runs ORDER BY id")]

    # Outcomes

    def known(self, stage: Stage, piece: Piece) -> Outcome | None:
        """The outcome of an earlier run, where neither the piece nor the stage has changed and all files are there."""
        row = self._db.execute(
            "SELECT status, reason, metrics, outputs, seconds, cpu_seconds FROM outcomes "
            "WHERE stage = ? AND key = ? AND input = ? AND parameters = ?",
            (stage.name, piece.key, piece.fingerprint(), _parameters(stage)),
        ).fetchone()
        if row is None:
            return None
        status, reason, metrics, outputs, seconds, cpu_seconds = row
        pieces = [Piece.from_plain(values) for values in json.loads(outputs)]
        if not all(self._is_there(made) for made in pieces):
            return None
        return Outcome(piece, status, pieces, reason, json.loads(metrics), seconds, cpu_seconds)

    def record(self, stage: Stage, outcome: Outcome, fingerprint: str) -> None:
        """Remember an outcome, and remove files of an earlier one that are no longer made.

        `fingerprint` is the piece's from before the work, so that a file which changed meanwhile is worked on again.
        """
        made = {str(out.path): out for out in outcome.outputs if out.path != outcome.piece.path}
        earlier = self._db.execute(
            "SELECT outputs FROM outcomes WHERE stage = ? AND key = ?", (stage.name, outcome.piece.key)
        )
        old = {values["path"] for (text,) in earlier for values in json.loads(text)}
        row = (
            stage.name,
            outcome.piece.key,
            fingerprint,
            _parameters(stage),
            outcome.status,
            outcome.reason,
            json.dumps(dict(outcome.metrics)),
            json.dumps([out.plain() for out in outcome.outputs]),
            outcome.seconds,
            outcome.cpu_seconds,
            self._run,
        )
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(f"INSERT OR REPLACE INTO outcomes VALUES ({', '.join('?' * len(row))})", row)
        for path, out in made.items():
            values = (path, out.path.stat().st_size, stage.name, json.dumps(out.plain()))
            self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", values)
        old = {path for path in old if Path(path).is_relative_to(self.root / stage.folder)}
        gone = [path for path in old - set(made) if self._made_by(path) == stage.name]
        self._db.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in gone])
        self._db.execute("COMMIT")
        for path in gone:
            Path(path).unlink(missing_ok=True)

    def outcomes(self, stage: str | None = None) -> Iterator[dict]:
        """Rows as dicts, metrics decoded, in order of stage and key."""
        columns = ("stage", "key", "status", "reason", "metrics", "outputs", "seconds", "cpu_seconds")
        where, values = ("WHERE stage = ?", (stage,)) if stage else ("", ())
        query = f"SELECT {', '.join(columns)} FROM outcomes {where} ORDER BY stage, key"
        for row in self._db.execute(query, values):
            found = dict(zip(columns, row, strict=True))
            yield found | {name: json.loads(found[name]) for name in ("metrics", "outputs")}

    # Files

    def origin_of(self, path: Path) -> Piece | None:
        """What is known of a file that a stage wrote; None for others, also for one that was changed since."""
        row = self._db.execute("SELECT size, piece FROM files WHERE path = ?", (str(path),)).fetchone()
        if row is None or not path.is_file() or path.stat().st_size != row[0]:
            return None
        return Piece.from_plain(json.loads(row[1]))

    def settle(self, kept: Sequence[Piece], dropped: Sequence[tuple[str, Outcome]]) -> None:
        """The fates of a run's clips: those that all stages kept, and the others with the stage that dropped them."""
        rows = [(piece.key, self._relative(piece.path), KEPT, "", "") for piece in kept]
        for stage, outcome in dropped:
            piece = outcome.piece
            rows.append((piece.key, self._relative(piece.path), outcome.status, stage, outcome.reason))
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM clips")
        self._db.executemany("INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def _relative(self, path: Path) -> str:
        return (path.relative_to(self.root) if path.is_relative_to(self.root) else path).as_posix()

    def _is_there(self, piece: Piece) -> bool:
        if not piece.path.is_file():
            return False
        row = self._db.execute("SELECT size FROM files WHERE path = ?", (str(piece.path),)).fetchone()
        return row is None or row[0] == piece.path.stat().st_size

    def _made_by(self, path: str) -> str | None:
        row = self._db.execute("SELECT stage FROM files WHERE path = ?", (path,)).fetchone()
        return row and row[0]


def versions() -> dict[str, str]:
    """What the results were made with."""
    found = {"latentsync": __version__, "python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _parameters(stage: Stage) -> str:
    return json.dumps({"folder": stage.folder, **stage.parameters()}, sort_keys=True)
