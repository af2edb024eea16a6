"""Scenes of a video: where PySceneDetect's detectors see cuts in frames that pass by once.

`scenedetect` is imported when a detector is made.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

LEAST_WIDTH = 256  # pixels; wider frames are looked at as small as whole factors allow, as in PySceneDetect 0.6.1
FPS = 25  # of the time stamps that the detectors want; they count in frames

Scene = tuple[int, int]  # its first frame, and the one after its last


class CutFinder:
    """A detector of PySceneDetect that is shown one frame after the other."""

    def __init__(self, detector: Any) -> None:
        from scenedetect import FrameTimecode

        self._detector, self._time = detector, FrameTimecode
        self._cuts: list[int] = []
        self.n_frames = 0  # so far

    def add(self, frame: np.ndarray) -> None:
        """Look at the next frame, (h, w, 3) uint8 RGB."""
        picture = _small(frame)[..., ::-1]
        self._note(self._detector.process_frame(self._time(self.n_frames, float(FPS)), picture))
        self.n_frames += 1

    def finish(self) -> list[int]:
        """The first frames of all scenes but the first; nothing can be added afterwards."""
        self._note(self._detector.post_process(self._time(self.n_frames, float(FPS))))
        return self._cuts

    def _note(self, found: list[Any]) -> None:
        self._cuts += [cut.frame_num for cut in found]


def _small(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    factor = width // LEAST_WIDTH
    if factor < 2:
        return frame
    return cv2.resize(frame, (round(width / factor), max(1, round(height / factor))), interpolation=cv2.INTER_LINEAR)


def by_content(*, threshold: float = 27.0, min_scene: int = 15) -> CutFinder:
    """Cuts where hue, saturation and brightness change by `threshold` levels on average.

    A scene has `min_scene` frames or more, the last one excepted; a change before that is none. So did releases before
    0.6.4, and the public measure; newer ones would merge short scenes with what follows.
    """
    from scenedetect import ContentDetector
    from scenedetect.detector import FlashFilter

    return CutFinder(ContentDetector(threshold, min_scene, filter_mode=FlashFilter.Mode.SUPPRESS))


def by_change(*, threshold: float = 3.0, min_content: float = 15.0, min_scene: int = 15) -> CutFinder:
    """Cuts where frames change by `threshold` times as much as around there, and by `min_content` levels."""
    from scenedetect import AdaptiveDetector

    return CutFinder(AdaptiveDetector(threshold, min_scene, min_content_val=min_content))


def find_scenes(frames: Iterable[np.ndarray], finder: CutFinder) -> list[Scene]:
    """The scenes of a whole video, frames (h, w, 3) uint8 RGB."""
    for frame in frames:
        finder.add(frame)
    return scenes(finder.finish(), finder.n_frames)


def scenes(cuts: list[int], n_frames: int, *, keep_last_frame: bool = True) -> list[Scene]:
    """All of a video, in order, from the cuts in it.

    Without `keep_last_frame` the last scene ends a frame early where there are cuts, as in the public measure.
    """
    found = list(pairwise([0, *cuts, n_frames]))
    if cuts and not keep_last_frame:
        found[-1] = (found[-1][0], n_frames - 1)
    return found
