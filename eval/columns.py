"""What is measured of results: names, meanings, and which numbers are better."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Column:
    """One number of each clip, or of all of them together."""

    title: str
    meaning: str
    #: The best number there is; None: as high, or as low, as can be.
    best: float | None = None
    higher: bool = True  # is better, where `best` is None
    digits: int = 3

    def badness(self, values: np.ndarray | float) -> np.ndarray | float:
        """Greater is worse."""
        if self.best is not None:
            return np.abs(np.asarray(values) - self.best)
        return -np.asarray(values) if self.higher else np.asarray(values)

    @property
    def arrow(self) -> str:
        return ("↑" if self.higher else "↓") if self.best is None else f"near {self.best:g}"


CLIP_COLUMNS = {
    "confidence": Column(
        "Sync confidence", "how much better the best offset of the sound is than the median offset, says the judge"
    ),
    "confidence_at_0": Column("Sync confidence as it is", "the same of no offset: what a viewer sees and hears"),
    "distance": Column("Sync distance", "of pictures and sound at the best offset", higher=False),
    "offset": Column("Offset", "frames by which the sound is early, says the judge", best=0, digits=2),
    "accuracy": Column(
        "SyncNet accuracy",
        "share of windows about which a StableSyncNet is right: those as they are it should call in sync, those with "
        "the sound of other moments not",
    ),
    "lmd": Column("Mouth landmark distance", "of the lips' points from the truth's, pixels of the aligned face",
                  higher=False),
    "psnr": Column("PSNR", "of the aligned face against the truth, dB", digits=2),
    "ssim": Column("SSIM", "of the aligned face against the truth"),
    "lpips": Column("LPIPS", "perceptual distance of the aligned face from the truth (VGG16)", higher=False),
    "identity": Column("Identity", "cosine similarity of the face with the truth's, else the source's (ArcFace)"),
    "flicker": Column(
        "Flicker",
        "what frames before and after do not explain of the mouth's picture, relative to the truth, else the source; "
        "below 1 the mouth moves too little",
        best=1,
    ),
    "faces": Column("Frames with a face", "share of all frames"),
}  # fmt: skip
SET_COLUMNS = {
    "fid": Column("FID", "Fréchet distance of Inception features of all aligned faces from the truths', else the "
                  "sources'", higher=False, digits=2),
    "fvd": Column("FVD", "Fréchet distance of I3D features of all clips from the truths', else the sources'",
                  higher=False, digits=2),
}  # fmt: skip
COLUMNS = CLIP_COLUMNS | SET_COLUMNS

SYNC = ("confidence", "confidence_at_0", "distance", "offset")
NEEDS_TRUTH = ("lmd", "psnr", "ssim", "lpips")
NEEDS_REFERENCE = ("identity", "flicker", "fid", "fvd")
