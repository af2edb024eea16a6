"""The public version's alignment and paste: its rounding, its bias, its whole-crop blend."""

from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor

from latentsync.face.align import FaceAligner, crop_size, similarity, template
from latentsync.face.paste import paste_crop, resize_to_crop

from . import Golden, close, family, golden_rule, mean_within, pixels

RESOLUTIONS = (256, 512)
MATRIX = close(1e-4, 1e-3)
SAME_PICTURE = pixels(0.01)
INFORMATION = mean_within(2)  # the public version's float16


@family("face alignment")
def face_alignment(golden: Golden) -> dict:
    frame = golden_rule().smooth_image(*golden.meta["frame"], phase=0.3)
    points, edge, mirrored = (golden.arrays[name] for name in ("points", "edge_points", "mirrored_points"))
    result = {"points": points, "edge_points": edge, "mirrored_points": mirrored}

    def add_picture(name: str, picture: np.ndarray) -> None:
        step = next(step for pattern, step in golden.meta["steps"].items() if fnmatchcase(name, pattern))
        result[name] = picture[::step, ::step], SAME_PICTURE if name.endswith("f32") else INFORMATION

    for r in RESOLUTIONS:
        plain = [similarity(three, template(r)) for three in points]
        used, *later = _reference_matrices(r, points)
        matrices = np.stack([used, *later])
        result |= {
            f"template_{r}": template(r),
            f"face_size_{r}": np.array(crop_size(r)),
            f"matrix_no_smoothing_{r}": (plain[0], MATRIX),
            f"matrix_mirrored_points_{r}": (similarity(mirrored, template(r)), MATRIX),
            f"matrices_{r}": (matrices, MATRIX),
            f"bias_{r}": (matrices - plain)[:, :, 2],
            f"matrix_used_{r}_f32": (used[None], MATRIX),
            f"matrix_used_{r}_f16": (used[None].astype(np.float16).astype(np.float32), MATRIX),
        }
        aligner = FaceAligner(r, reference=True)
        for kind in ("f32", "f16"):
            add_picture(f"crop_{r}_{kind}", aligner.rectangle(frame, used))
            add_picture(f"resized_{r}_{kind}", aligner.crop(frame, used).permute(1, 2, 0).numpy())
        (matrix,) = _reference_matrices(r, [edge])
        result[f"edge_matrix_{r}"] = matrix[None], MATRIX
        add_picture(f"edge_crop_{r}_f32", aligner.rectangle(frame, matrix))
    return result


@family("paste back")
def paste_back(golden: Golden) -> dict:
    from ..test_golden import FOLDER

    alignment = Golden.load(FOLDER / "face_alignment.json").arrays
    frame = golden_rule().smooth_image(*golden.meta["frame"], phase=1.1)
    result = {}
    for r in RESOLUTIONS:
        (matrix,) = _reference_matrices(r, alignment["points"][:1])
        pasted = paste_crop(frame, _face(r), matrix)
        result |= {
            f"face_resized_{r}": resize_to_crop(_face(r))[:, ::8, ::8],
            f"matrix_{r}": (matrix[None], MATRIX),
            f"pasted_{r}_f32": (pasted[::4, ::4], SAME_PICTURE),
            f"pasted_{r}_f16": (pasted[::4, ::4], INFORMATION),
        }
        if r == 256:  # stored at full density, where anything changes
            x0, y0, x1, y1 = golden.meta["changed"]["256_f32"]["box"]
            result["pasted_256_f32"] = pasted[y0:y1, x0:x1], SAME_PICTURE
    (matrix,) = _reference_matrices(256, [alignment["edge_points"]])
    result["pasted_edge_256_f32"] = paste_crop(frame, _face(256), matrix)[::4, ::4], SAME_PICTURE
    return result


def _reference_matrices(resolution: int, points) -> list[np.ndarray]:
    """The matrices of one video whose frames have these alignment points."""
    aligner = FaceAligner(resolution, reference=True)
    return [aligner.matrix(three) for three in points]


def _face(resolution: int) -> Tensor:
    """The generated face of the paste goldens, (3, r, r) float32 in [-1, 1]."""
    picture = golden_rule().smooth_image(resolution, resolution, phase=2.4)
    return torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
