"""Stages that need no video: a piece is a text file, and what is done to it depends on its name."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import MediaError
from latentsync.files import atomic_path
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected


@dataclass
class Shout:
    """Writes the text in capitals. Some names are special."""

    mark: str = "!"
    pause_s: float = 0.0
    broken: str = ""  # how its setup fails

    name = "shout"
    folder = "loud"
    gpus = 0.0

    def parameters(self):
        return {"mark": self.mark}

    def setup(self, device: str) -> None:
        self._device = device
        if self.broken == "by death":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.broken:
            raise MediaError(self.broken)

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        time.sleep(self.pause_s)
        text = piece.path.read_text()
        if "reject" in piece.key:
            raise Rejected("too quiet: indeed", loudness=len(text))
        if "ours" in piece.key:
            raise MediaError(f"{piece.path} is damaged")
        if "bug" in piece.key:
            raise ZeroDivisionError("a mistake")
        if "hang" in piece.key:
            try:
                (folder.parent / "hangs").touch()
                time.sleep(60)
            finally:
                (folder.parent / "hangs").rename(folder.parent / "ended")
        if "die once" in piece.key and not piece.path.with_suffix(".died").exists():
            piece.path.with_suffix(".died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "die always" in piece.key:
            os.kill(os.getpid(), signal.SIGKILL)
        made = []
        for suffix in ("_a", "_b") if "split" in piece.key else ("",):
            path = folder / f"{piece.key}{suffix}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_text(text.upper() + self.mark)
            made.append(piece.made(path, suffix).measured(letters=len(text)))
        with (folder.parent / "log").open("a") as log:
            log.write(f"{piece.key}\n")
        return made


def pieces(folder: Path, *names: str) -> list[Piece]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.txt").write_text(name)
    return [Piece(name, folder / f"{name}.txt") for name in names]


def log(root: Path) -> list[str]:
    return (root / "log").read_text().splitlines() if (root / "log").exists() else []


