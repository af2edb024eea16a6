"""Writing files so that a name never holds half of one."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}(\.\w+)?")  # a dot, the target's stem, mkstemp's letters, the suffix


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` (same suffix), renamed onto it on success and removed on any failure.

    Raises OSError where the folder cannot be written.
    """
    target = Path(target)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what `atomic_path` could not because its process was killed. Nobody else may be writing there."""
    for path in folder.glob(".*"):
        if path.is_file() and _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """16 hexadecimal digits that tell a file's content (SHA-256). Raises OSError."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()[:16]
