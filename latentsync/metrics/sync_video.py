"""Sync confidence of a video file: its faces are found and followed, and each track is scored by SyncNet v2.

The public measure, but for its lossy steps between (JPEG pictures, MPEG-4 crops, AAC sound): pictures and sound go from
the file's decoder to the network. A positive offset means that the sound is early.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from latentsync.errors import MeasureError, NoFaceError
from latentsync.media.ffmpeg import decode_audio, decode_frames, probe
from latentsync.models.syncnet_v2 import SyncNetV2
from latentsync.types import VideoInfo

from .crops import track_crops
from .syncnet_v2 import LEAST_FRAMES, SAMPLES_PER_FRAME, SyncDistance, score_clip
from .tracks import Detector, FaceTrack, TrackOptions, find_faces, link_tracks

FPS = 25


@dataclass(frozen=True)
class SyncOptions:
    """How a video is judged. Defaults are what we think better; `reference()` is the public behaviour."""

    tracks: TrackOptions = field(default_factory=TrackOptions)
    #: The track with the greatest confidence answers; else the mean of all, the offset's cut toward zero.
    best_track: bool = True
    #: Shorter tracks answer only where none is so long, and then the longest: confidence of few frames says little.
    sure_frames: int = 51  # the public least

    @classmethod
    def reference(cls) -> "SyncOptions":
        """Judge as the public version does."""
        return cls(tracks=TrackOptions.reference(), best_track=False)


@dataclass(frozen=True)
class TrackSync:
    """Of one face track."""

    first: int  # frame number, at 25 per second
    n_frames: int  # of it that have sound
    box: tuple[float, float, float, float]  # mean x0 y0 x1 y1 in pixels
    sync: SyncDistance


@dataclass(frozen=True)
class VideoSync:
    """Of a video."""

    offset: int  # frames by which the sound is early
    confidence: float
    by_offset: Tensor  # (31,) mean distance if the sound were early by -15...15 frames
    tracks: tuple[TrackSync, ...]  # in the order in which they begin


class SyncEvaluator:
    """Offset and confidence of videos.

    Args:
        network: in evaluation mode.
        detector: of faces, on frames as they are decoded.
        detector_batch: frames that it is given at once.
        batch: frames that the network sees at once.
    """

    def __init__(
        self,
        network: SyncNetV2,
        detector: Detector,
        options: SyncOptions | None = None,
        *,
        detector_batch: int = 4,
        batch: int = 16,
    ) -> None:
        self.network, self.detector = network, detector
        self.options = options or SyncOptions()
        self.detector_batch, self.batch = detector_batch, batch

    def __call__(
        self, path: str | Path, sound: str | Path | None = None, *, wanted: Callable[[FaceTrack], bool] = lambda _: True
    ) -> VideoSync:
        """Of a video; it is decoded once for its faces, then each track's part once more.

        Args:
            sound: a file with the sound; None: the video's own.
            wanted: whether a track counts. Where none does, all do.

        Raises MediaError for a file that cannot be read or has no sound, NoFaceError where there is no face track, and
        MeasureError for less than six frames with their sound.
        """
        info = probe(path)
        with TemporaryDirectory(prefix="latentsync-") as folder:
            samples = decode_audio(sound or info.path, Path(folder))
            tracks = self._tracks(info, heard=len(samples) // SAMPLES_PER_FRAME)
            chosen = [track for track in tracks if wanted(track)] or tracks
            return overall([self._score(info, track, samples) for track in chosen], self.options)

    def _tracks(self, info: VideoInfo, heard: int) -> list[FaceTrack]:
        """Those that can be scored, as sound ends after `heard` frames."""
        _check_length(info, heard, f"sound for {heard}")
        options = self.options.tracks
        with closing(decode_frames(info, FPS)) as frames:
            faces, scenes = find_faces(frames, self.detector, options, batch=self.detector_batch)
        _check_length(info, len(faces), f"{len(faces)} frames")
        tracks = link_tracks(faces, scenes, options)
        if not tracks:
            raise NoFaceError(
                f"{info.path}: expected a face of more than {options.min_size:g} pixels that is seen in "
                f"{options.min_detections} frames or more of one shot, got {len(faces)} frames without; "
                "use a video with a larger face, or one that stays longer"
            )
        heard_tracks = [track for track in tracks if heard - track.first >= LEAST_FRAMES]
        if not heard_tracks:
            raise MeasureError(
                f"{info.path}: expected sound while a face is seen, got faces from frame {tracks[0].first} on and "
                f"sound for {heard}; use a clip whose sound lasts longer"
            )
        return heard_tracks

    def _score(self, info: VideoInfo, track: FaceTrack, samples: np.ndarray) -> TrackSync:
        sound = samples[track.first * SAMPLES_PER_FRAME :][: len(track.boxes) * SAMPLES_PER_FRAME]
        n_frames = len(sound) // SAMPLES_PER_FRAME
        with closing(decode_frames(info, FPS, first=track.first, n_frames=n_frames)) as frames:
            crops = track_crops(frames, track, self.options.tracks)
            score = score_clip(self.network, crops, sound, batch=self.batch, name=info.path)
        box = tuple(track.boxes[:n_frames].mean(axis=0).tolist())
        return TrackSync(track.first, n_frames, box, score)


def _check_length(info: VideoInfo, n: int, what: str) -> None:
    if n < LEAST_FRAMES:
        raise MeasureError(
            f"{info.path}: expected {LEAST_FRAMES} frames with sound or more, got {what}; use a longer clip"
        )


def overall(tracks: Sequence[TrackSync], options: SyncOptions) -> VideoSync:
    """The answer of a video from its tracks, at least one."""
    if options.best_track:
        enough = min(options.sure_frames, max(track.n_frames for track in tracks))
        sure = (track.sync for track in tracks if track.n_frames >= enough)
        best = max(sure, key=lambda sync: sync.confidence)
        return VideoSync(best.offset, best.confidence, best.by_offset, tuple(tracks))
    syncs = [track.sync for track in tracks]
    offset = int(sum(sync.offset for sync in syncs) / len(syncs))
    confidence = sum(sync.confidence for sync in syncs) / len(syncs)
    return VideoSync(offset, confidence, torch.stack([sync.by_offset for sync in syncs]).mean(dim=0), tuple(tracks))
