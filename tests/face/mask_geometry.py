"""Draws latentsync/face/mask.png: `python -m tests.face.mask_geometry`. A bowl below two strips.

All columns and rows name the first or the last pixel of the hole.
"""

import cv2
import numpy as np

from latentsync.face.mask import MASK_FILE

SIZE = 256
STRIP_ROWS = (95, 127)
STRIP_COLUMNS = ((9, 77), (178, 246))
BOWL_ROWS = (128, 242)
# (column, for how many rows), downwards from the bowl's first row
BOWL_FIRST_COLUMNS = (
    (9, 8), (10, 14), (11, 14), (12, 7), (13, 2), (14, 2), (15, 2), (16, 2), (17, 1), (18, 2), (19, 2),
    (20, 1), (21, 2), (22, 2), (23, 1), (24, 1), (25, 1), (26, 2), (27, 1), (28, 1), (29, 1), (30, 1),
    (31, 1), (32, 1), (33, 1), (34, 2), (35, 1), (36, 1), (37, 1), (38, 1), (39, 1), (40, 1), (42, 1),
    (43, 1), (44, 1), (45, 1), (47, 1), (48, 1), (49, 1), (51, 1), (52, 1), (54, 1), (56, 1), (57, 1),
    (59, 1), (60, 1), (62, 1), (64, 1), (66, 1), (68, 1), (70, 1), (72, 1), (74, 1), (76, 1), (78, 1),
    (80, 1), (82, 1), (85, 1), (87, 1), (90, 1), (93, 1), (95, 1), (99, 1), (104, 1), (108, 1), (131, 1),
)
BOWL_LAST_COLUMNS = (
    (247, 7), (246, 14), (245, 14), (244, 7), (243, 2), (242, 2), (241, 2), (240, 2), (239, 1), (238, 2),
    (237, 1), (236, 2), (235, 1), (234, 2), (233, 1), (232, 2), (231, 1), (230, 2), (229, 1), (228, 2),
    (227, 1), (226, 1), (225, 1), (224, 1), (223, 2), (222, 1), (221, 1), (220, 1), (219, 1), (218, 1),
    (217, 1), (216, 1), (215, 1), (214, 1), (213, 1), (212, 1), (211, 1), (210, 1), (208, 1), (207, 1),
    (206, 1), (204, 1), (203, 1), (202, 1), (200, 1), (199, 1), (197, 1), (196, 1), (194, 1), (192, 1),
    (191, 1), (189, 1), (187, 1), (185, 1), (183, 1), (180, 1), (178, 1), (175, 1), (173, 1), (171, 1),
    (168, 1), (166, 1), (164, 1), (160, 1), (156, 1), (152, 1),
)


def draw_mask() -> np.ndarray:
    """The default mask (256, 256) uint8: 255 = keep, 0 = generate."""
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    for first, last in STRIP_COLUMNS:
        mask[STRIP_ROWS[0] : STRIP_ROWS[1] + 1, first : last + 1] = 0
    rows = range(BOWL_ROWS[0], BOWL_ROWS[1] + 1)
    columns = (np.repeat(*np.transpose(runs)) for runs in (BOWL_FIRST_COLUMNS, BOWL_LAST_COLUMNS))
    for row, first, last in zip(rows, *columns, strict=True):
        mask[row, first : last + 1] = 0
    return mask


if __name__ == "__main__":
    cv2.imwrite(str(MASK_FILE), cv2.cvtColor(draw_mask(), cv2.COLOR_GRAY2BGR))
