"""Jobs in one SQLite file, which outlives any process."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from threading import RLock
from typing import Any

from filelock import FileLock, Timeout

from ..errors import ConfigError

FORMAT = 1
MAX_DEATHS = 2  # of the server during one job, which then is to blame
QUEUED, PROCESSING, COMPLETED, FAILED, CANCELLED = STATUSES = (
    "queued",
    "processing",
    "completed",
    "failed",
    "cancelled",
)
ENDED = (COMPLETED, FAILED, CANCELLED)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
    created REAL NOT NULL, started REAL, ended REAL,
    video TEXT NOT NULL, audio TEXT NOT NULL, options TEXT NOT NULL, webhook TEXT,
    device TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, stage TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '', report TEXT, notified INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS by_status ON jobs (status, number);
"""


@dataclass(frozen=True)
class Job:
    """One video to be made, as it was when it was read. Times are seconds since 1970."""

    id: str
    status: str
    created: float
    started: float | None
    ended: float | None
    video: str  # the client's names of the files
    audio: str
    options: dict[str, Any]
    webhook: str | None
    device: str | None
    attempts: int  # how often it was begun and neither ended nor was handed back
    done: int  # frames
    total: int  # frames in all, 0 while that is not known
    stage: str
    reason: str  # why it failed
    report: dict[str, Any] | None
    position: int | None  # in the queue, 1 is next; None where it does not wait


_POSITION = (
    f"CASE WHEN status = '{QUEUED}' THEN "
    f"(SELECT COUNT(*) FROM jobs AS other WHERE other.status = '{QUEUED}' AND other.number <= jobs.number) END"
)
_COLUMNS = ", ".join(_POSITION if field.name == "position" else field.name for field in fields(Job))


class JobStore:
    """The jobs of one server; its threads may call any method at any time.

    Jobs that were processing when the process died are queued again, in their old place, and failed after
    `MAX_DEATHS` of them. Raises ConfigError where the folder cannot be used or another server uses it.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = RLock()
        self._owner = FileLock(folder / ".server.lock", timeout=0, thread_local=False)
        path = folder / "jobs.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._owner.acquire()
        except Timeout:
            raise ConfigError(f"{folder}: another server uses this folder; stop it or choose another one") from None
        except OSError as error:
            raise ConfigError(f"{folder} cannot be written ({error.strerror}); choose another data folder") from error
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, FORMAT):
                raise ConfigError(f"{path} is a queue of format {found}, expected {FORMAT}; choose another data folder")
            self._db.executescript(_SCHEMA + f"PRAGMA user_version = {FORMAT};")
            self._recover()
        except sqlite3.Error as error:
            self._owner.release()
            raise ConfigError(f"{path} cannot be used as a queue ({error}); choose another data folder") from error
        except ConfigError:
            self._owner.release()
            raise

    def close(self) -> None:
        """Let another server use the folder."""
        with self._lock:
            self._db.close()
            self._owner.release()

    # From a client

    def add(
        self, id: str, *, video: str, audio: str, options: dict[str, Any], webhook: str | None, max_queue: int
    ) -> Job | None:
        """Queue a job; None where `max_queue` wait already."""
        with self._writing():
            if self.n_queued() >= max_queue:
                return None
            row = (id, QUEUED, time.time(), video, audio, json.dumps(options), webhook)
            self._db.execute(
                "INSERT INTO jobs (id, status, created, video, audio, options, webhook) VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            return self.get(id)

    def cancel(self, id: str) -> bool:
        """End a job that waits or is worked on; False where there is none such."""
        return self._end(id, CANCELLED, allowed=(QUEUED, PROCESSING))

    def remove(self, id: str) -> bool:
        """Forget a job that has ended; False where there is none such."""
        with self._lock:
            sql = f"DELETE FROM jobs WHERE id = ? AND status IN {ENDED}"
            return self._db.execute(sql, (id,)).rowcount > 0

    # From a worker

    def claim(self, device: str) -> Job | None:
        """The first job that waits, which is now processing on `device`; None where none waits."""
        with self._writing():
            sql = "SELECT id FROM jobs WHERE status = ? ORDER BY number LIMIT 1"
            row = self._db.execute(sql, (QUEUED,)).fetchone()
            if row is None:
                return None
            self._db.execute(
                "UPDATE jobs SET status = ?, device = ?, started = ?, attempts = attempts + 1 WHERE id = ?",
                (PROCESSING, device, time.time(), row[0]),
            )
            return self.get(row[0])

    def progress(self, id: str, done: int, total: int, stage: str) -> None:
        """Note how far a job is, unless it has ended meanwhile."""
        with self._lock:
            self._db.execute(
                "UPDATE jobs SET done = ?, total = ?, stage = ? WHERE id = ? AND status = ?",
                (done, total, stage, id, PROCESSING),
            )

    def finish(self, id: str, report: dict[str, Any]) -> bool:
        """Complete a job; False where it was cancelled meanwhile."""
        return self._end(id, COMPLETED, report=report)

    def fail(self, id: str, reason: str) -> bool:
        """End a job that cannot be done; False where it was cancelled meanwhile."""
        return self._end(id, FAILED, reason=reason)

    def hand_back(self, id: str) -> None:
        """Queue a job again that was interrupted through no fault of its own; it keeps its place."""
        with self._lock:
            self._db.execute(
                "UPDATE jobs SET status = ?, device = NULL, started = NULL, attempts = attempts - 1, done = 0, "
                "total = 0, stage = '' WHERE id = ? AND status = ?",
                (QUEUED, id, PROCESSING),
            )

    def notified(self, id: str) -> None:
        """The job's webhook needs no further call."""
        with self._lock:
            self._db.execute("UPDATE jobs SET notified = 1 WHERE id = ?", (id,))

    # Reading

    def get(self, id: str) -> Job | None:
        found = self._select("id = ?", id)
        return found[0] if found else None

    def n_queued(self) -> int:
        with self._lock:
            return self._db.execute("SELECT COUNT(*) FROM jobs WHERE status = ?", (QUEUED,)).fetchone()[0]

    def processing(self) -> list[Job]:
        """The jobs that are worked on."""
        return self._select("status = ?", PROCESSING)

    def expired(self, before: float) -> list[Job]:
        """Jobs that ended before a time."""
        return self._select(f"status IN {ENDED} AND ended < ?", before)

    def to_notify(self) -> list[Job]:
        """Jobs that have ended and whose webhook was not called."""
        return self._select(f"status IN {ENDED} AND webhook IS NOT NULL AND NOT notified")

    def ids(self) -> set[str]:
        with self._lock:
            return {id for (id,) in self._db.execute("SELECT id FROM jobs")}

    # Inside

    def _select(self, where: str, *values: Any) -> list[Job]:
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where} ORDER BY number", values).fetchall()
        return [_job(row) for row in rows]

    def _end(
        self,
        id: str,
        status: str,
        *,
        allowed: tuple[str, ...] = (PROCESSING,),
        reason: str = "",
        report: dict[str, Any] | None = None,
    ) -> bool:
        marks = ", ".join("?" * len(allowed))
        row = (status, time.time(), reason, None if report is None else json.dumps(report), id, *allowed)
        with self._lock:
            sql = (
                "UPDATE jobs SET status = ?, ended = ?, stage = '', reason = ?, report = ? "
                f"WHERE id = ? AND status IN ({marks})"
            )
            return self._db.execute(sql, row).rowcount > 0

    def _recover(self) -> None:
        for job in self.processing():
            if job.attempts >= MAX_DEATHS:
                self.fail(job.id, f"the server stopped unexpectedly {job.attempts} times during this job")
        self._db.execute(
            "UPDATE jobs SET status = ?, device = NULL, started = NULL, done = 0, total = 0, stage = '' "
            "WHERE status = ?",
            (QUEUED, PROCESSING),
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Several statements that are one."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _job(row: tuple) -> Job:
    values = dict(zip([field.name for field in fields(Job)], row, strict=True))
    values["options"] = json.loads(values["options"])
    values["report"] = json.loads(values["report"] or "null")
    return Job(**values)
