"""The values that flow between the parts: what was probed, found, cut out and generated."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class AudioInfo:
    """One audio stream of a file."""

    codec: str  # ffmpeg's name, e.g. "aac", "pcm_s16le"
    sample_rate: int  # Hz
    channels: int


@dataclass(frozen=True)
class VideoInfo:
    """One video stream of a file, as a viewer sees it (rotation applied)."""

    path: Path
    width: int  # pixels
    height: int  # pixels
    rate: Fraction  # average frames per second
    duration_s: float | None  # None where the container does not say
    pixel_format: str  # ffmpeg's name, e.g. "yuv420p10le"
    color_matrix: str | None = None  # ffmpeg's name, e.g. "bt709"; None where untagged
    color_range: str | None = None  # "tv" or "pc"; None where untagged
    color_primaries: str | None = None  # ffmpeg's name, e.g. "bt709"; None where untagged or unusual
    hdr: str | None = None  # the transfer function of HDR: "smpte2084" (PQ) or "arib-std-b67" (HLG)
    interlaced: bool = False  # as the first frame says
    audio: AudioInfo | None = None


@dataclass(frozen=True)
class TrackedFace:
    """A frame and, where it has one, the chosen face; landmarks and points are None where the track is."""

    index: int  # source frame number
    frame: np.ndarray  # (h, w, 3) uint8 RGB
    track: int | None  # counts from 0; None: no face, the frame passes through
    landmarks: np.ndarray | None  # (n, 2) float32 frame pixels, as found or bridged
    points: np.ndarray | None  # (3, 2) float32 frame pixels: left brow, right brow, nose; smoothed over time


@dataclass(frozen=True)
class FacePose:
    """Enough to crop a face and to put it back."""

    matrix: np.ndarray  # (2, 3) float32 similarity, frame pixels -> crop pixels
    landmarks: np.ndarray  # (n, 2) float32 frame pixels; n = 468 for MediaPipe's mesh, 106 for InsightFace


@dataclass(frozen=True)
class AlignedFace:
    """A frame and, where it has one, its face as the network wants it."""

    index: int  # source frame number
    frame: np.ndarray  # (h, w, 3) uint8 RGB
    pose: FacePose | None  # None: no face, the frame passes through
    crop: Tensor | None  # (3, r, r) uint8 RGB
    run: int = 0  # frames of one run are consecutive and show one face: no cut, gap or jump between them


@dataclass(frozen=True)
class SyncedFace:
    """A frame with the face the network made for it."""

    index: int
    frame: np.ndarray  # (h, w, 3) uint8 RGB
    pose: FacePose | None  # None: the frame passes through
    crop: Tensor | None  # (3, r, r) float32 RGB in [-1, 1], not clamped; rounded once, when pasted


@dataclass(frozen=True)
class Window:
    """One clip of a U-Net call; a call takes a batch of windows."""

    faces: list[AlignedFace]
    audio: Tensor | None  # (f, s, d) float32
    keep: slice  # the frames that are wanted; the others only fill the window


@dataclass(frozen=True)
class Clip:
    """One item of a training set."""

    key: str  # relative path: unique, also the cache key
    path: Path
    metrics: dict[str, float] = field(default_factory=dict)
