"""Can it be read at all, has it pictures and sound, and are both all there? Nothing is changed or removed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from latentsync.errors import MediaError
from latentsync.media.ffmpeg import check_key_frames, decode_audio, picture_times, probe
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected, Stage

from ..settings import VerifySettings

_FULL_SCALE = 32768
_BLOCK = 1 << 20  # samples


@dataclass
class Verify(Stage):
    """Reads a file's packets, key frames and sound; the other pictures are decoded by the next stages, once."""

    settings: VerifySettings

    name = "verify"
    folder = ""

    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings)

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        try:
            info = probe(piece.path)
            if info.audio is None:
                raise Rejected("no sound")
            times_s = picture_times(piece.path)
            check_key_frames(info)
            loudness_db = _loudness_db(piece.path)
        except MediaError as error:
            raise Rejected(f"unreadable: {str(error).removeprefix(f'{piece.path} ')}") from error
        duration_s = float(times_s[-1]) + 1 / float(info.rate)
        measured = {
            "duration_s": round(duration_s, 3),
            "fps": round(float(info.rate), 3),
            "width": info.width,
            "height": info.height,
            "loudness_db": round(loudness_db, 1),
        }
        if info.duration_s is not None and info.duration_s - duration_s > self.settings.max_missing_s:
            raise Rejected(
                "pictures end before the file does", missing_s=round(info.duration_s - duration_s, 2), **measured
            )
        if duration_s < self.settings.min_s:
            raise Rejected("short", **measured)
        if loudness_db < self.settings.min_loudness_db:
            raise Rejected("silent", **measured)
        return [piece.measured(**measured)]


def _loudness_db(path: Path) -> float:
    """Of the whole sound, root mean square in dB below full scale; -inf for digital silence."""
    with TemporaryDirectory(prefix="latentsync-") as folder:
        samples = decode_audio(path, Path(folder))
        blocks = (samples[i : i + _BLOCK].astype(np.float64) for i in range(0, len(samples), _BLOCK))
        power = sum(float(np.square(block).sum()) for block in blocks) / len(samples) / _FULL_SCALE**2
        del samples  # unmapped before the folder goes
    return 10 * float(np.log10(power)) if power > 0 else -np.inf
