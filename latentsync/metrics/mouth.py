"""What the lips in a video do: how far they are apart, when they close, how much their picture changes.

Openings are curves (f,) in heights of the face, nan in frames where no face was found.
"""


import numpy as np

#: Pairs of mesh points, upper and lower, on the inner edges of the lips: the middle, and a third aside.
INNER_LIPS = ((13, 14), (82, 87), (312, 317))
EYE_CORNERS = (33, 263)


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
    """How far the lips of meshes (f, 468, 2) are apart, (f,) pixels; < 0 where they cross.

    The mean over three pairs of points, along the face's own vertical: one pair is noisier, and what lips move
    sideways is no opening.
    """
    across = landmarks[:, EYE_CORNERS[1]] - landmarks[:, EYE_CORNERS[0]]
    across = across / np.linalg.norm(across, axis=1, keepdims=True)
    down = np.stack([-across[:, 1], across[:, 0]], axis=1)
    upper, lower = np.array(INNER_LIPS).T
    return ((landmarks[:, lower] - landmarks[:, upper]).mean(axis=1) * down).sum(axis=1)
