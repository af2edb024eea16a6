"""Files made of clips, named by the content of the clip, so that neither names nor dates can mix them up."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MediaError
from ..files import atomic_path

_DIGEST_BYTES = 16
_READ_BYTES = 1 << 20


def read_array(path: Path) -> np.ndarray | None:
    """The array of a .npy file as a read-only map; None where there is no whole one."""
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None


def write_array(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        np.save(temporary, array)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object of a JSON file; None where there is no whole one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value), encoding="utf-8")


@dataclass(frozen=True)
class Cache:
    """A folder of entries. Any number of processes may use it at once: entries appear whole or not at all."""

    folder: Path

    def entry(self, kind: str, digest: str, suffix: str) -> Path:
        """Where the entry of a content lies. What else it depends on, its parameters, is part of `kind`."""
        return self.folder / kind / digest[:2] / f"{digest}{suffix}"

    def known_digest(self, path: Path) -> str | None:
        """The digest that `digest` noted for a file which has the same size and date now; None without one."""
        note = read_json(self._note(path))
        try:
            return note["digest"] if note and note["file"] == _state(path) else None
        except (OSError, KeyError):
            return None

    def digest(self, path: Path) -> str:
        """Of a file's bytes. Raises MediaError where it cannot be read."""
        if known := self.known_digest(path):
            return known
        try:
            state = _state(path)  # before reading: a file that changes meanwhile is read again next time
            content = _digest(path)
        except OSError as error:
            raise MediaError(f"{path} cannot be read ({error.strerror}); correct the list or the folder") from error
        write_json(self._note(path), {"file": state, "digest": content})
        return content

    def _note(self, path: Path) -> Path:
        name = hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=_DIGEST_BYTES)
        return self.entry("digests", name.hexdigest(), ".json")


def _state(path: Path) -> list[int]:
    """Size and date of a file, as JSON gives them back."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _digest(path: Path) -> str:
    result = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            result.update(block)
    return result.hexdigest()
