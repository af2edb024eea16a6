"""What a head does in one frame, and what is then known about it. Pixel centres lie at integers."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pose:
    """Where a head is and what all of it but the mouth does. Angles in radians, lengths in frame pixels."""

    x: float  # where the middle of the face would lie without rotation
    y: float
    size: float  # height of the face from the top of the forehead to the chin, without rotation
    yaw: float = 0.0  # > 0: the face turns towards the right edge of the picture
    pitch: float = 0.0  # > 0: it turns up
    roll: float = 0.0  # > 0: clockwise in the picture
    blink: float = 0.0  # 0 open ... 1 closed
    gaze_x: float = 0.0  # of the eyes in the head, radians; > 0: towards the right edge of the picture
    gaze_y: float = 0.0  # > 0: up
    brow: float = 0.0  # -1 frowning ... 1 raised
    smile: float = 0.0  # 0 ... 1


@dataclass(frozen=True)
class FaceTruth:
    """What is true of a drawn face, in frame pixels."""

    landmarks: np.ndarray  # (468, 2) float32, in the order of MediaPipe's mesh
    lip_gap: float  # distance of the inner lips at the middle; 0 where they touch
    mouth_width: float  # distance of the corners
    eye_gap: float  # distance of the lids, mean of both eyes
