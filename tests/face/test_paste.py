import numpy as np
import pytest
import torch

from latentsync.face.align import FaceAligner, frame_to_square
from latentsync.face.mask import fixed_mask
from latentsync.face.paste import OFFSET_LIMIT, FacePaster, paste_crop, paste_weight

from .conftest import face_matrix, smooth_frame


def generated(frame: np.ndarray, matrix: np.ndarray, resolution: int, *, tint=(0, 0, 0)) -> torch.Tensor:
    """What a perfect network returns for this face, plus a tint in grey levels."""
    crop = FaceAligner(resolution).crop(frame, matrix).float() + torch.tensor(tint).view(3, 1, 1)
    return crop / 127.5 - 1


def weight_in_frame(frame: np.ndarray, matrix: np.ndarray, resolution: int) -> np.ndarray:
    """The paste weight at the square's pixel nearest to each frame pixel; -1 outside the square."""
    weight = paste_weight(fixed_mask(resolution))
    to_square = frame_to_square(matrix, resolution)
    y, x = np.indices(frame.shape[:2])
    columns, rows = (
        np.rint(to_square[i, 0] * x + to_square[i, 1] * y + to_square[i, 2]).astype(int) for i in range(2)
    )
    inside = (columns >= 0) & (columns < resolution) & (rows >= 0) & (rows < resolution)
    return np.where(inside, weight[rows.clip(0, resolution - 1), columns.clip(0, resolution - 1)], -1)


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(a[where].astype(float) - b[where]).mean())


CASES = {  # frame size, centre, frame pixels per pixel of the 256 crop, rotation, resolution
    "plain": ((480, 640), (320, 240), 1.0, 0, 256),
    "rotated": ((480, 640), (310.5, 250.2), 0.9, 33, 256),
    "upside down": ((480, 640), (320, 240), 1.0, 170, 256),
    "small": ((360, 480), (200, 180), 0.3, -15, 256),
    "small, 512": ((360, 480), (200, 180), 0.5, -15, 512),
    "portrait, 512": ((1920, 1080), (540, 800), 2.4, 5, 512),
    "4K": ((2160, 3840), (3200, 1000), 4.0, -12, 256),
    "4K, 512": ((2160, 3840), (3200, 1000), 4.0, -12, 512),
}


@pytest.mark.parametrize("case", CASES)
def test_pasting_the_aligned_crop_restores_the_frame(case):
    (height, width), centre, scale, degrees, resolution = CASES[case]
    frame = smooth_frame(height, width, cells=12)
    matrix = face_matrix(resolution, centre, scale=scale, degrees=degrees)
    before = frame.copy()
    pasted = FacePaster(fixed_mask(resolution))(frame, generated(frame, matrix, resolution), matrix)
    np.testing.assert_array_equal(frame, before)
    assert pasted.dtype == np.uint8 and pasted.shape == frame.shape
    weight = weight_in_frame(frame, matrix, resolution)
    assert psnr(pasted, frame, weight == 1) >= 38


@pytest.mark.parametrize("case", CASES)
def test_outside_the_feather_nothing_changes(case):
    (height, width), centre, scale, degrees, resolution = CASES[case]
    frame = smooth_frame(height, width)
    matrix = face_matrix(resolution, centre, scale=scale, degrees=degrees)
    face = torch.ones(3, resolution, resolution)
    pasted = FacePaster(fixed_mask(resolution))(frame, face, matrix)
    changed = (pasted != frame).any(axis=-1)
    weight = weight_in_frame(frame, matrix, resolution)
    assert not changed[weight < 0].any(), "pixels outside the square"
    assert changed[weight == 1].mean() > 0.95
    share = (weight > 0).sum()
    assert changed.sum() <= 1.02 * share + 50


@pytest.mark.parametrize("resolution", [64, 256, 512])
def test_weight_is_one_over_the_hole_and_fades_inside_the_square(resolution):
    mask, weight = fixed_mask(resolution), paste_weight(fixed_mask(resolution))
    assert (weight[mask[0].numpy() < 0.5] == 1).all()
    border = np.ones_like(weight, bool)
    border[1:-1, 1:-1] = False
    assert (weight[border] == 0).all()
    assert (weight[: int(0.3 * resolution)] == 0).all(), "brows and eyes stay"
    steps = max(np.abs(np.diff(weight, axis=axis)).max() for axis in (0, 1))
    assert steps < 0.25 * max(1, 256 / resolution), "no hard edge"


def test_face_partly_outside_the_frame():
    """As if the frame were a window into a larger one."""
    large = smooth_frame(700, 900)
    matrix = face_matrix(256, (250, 300), scale=1.2, degrees=10)
    face = generated(large, matrix, 256, tint=(4, 4, 4))
    small = np.ascontiguousarray(large[280:600, 220:640])
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (220, 280)
    whole = FacePaster(fixed_mask(256))(large, face, matrix)[280:600, 220:640]
    part = FacePaster(fixed_mask(256))(small, face, shifted)
    assert np.abs(part.astype(int) - whole).max() <= 1
    assert (part != small).any()


@pytest.mark.parametrize("paste", [FacePaster(fixed_mask(256)), paste_crop], ids=["mouth", "crop"])
def test_face_outside_the_frame_changes_nothing(paste):
    frame = smooth_frame(200, 300)
    pasted = paste(frame, torch.ones(3, 256, 256), face_matrix(256, (-900, 100), scale=1))
    np.testing.assert_array_equal(pasted, frame)
    assert pasted is not frame


def test_tint_of_the_decoder_is_removed():
    frame = smooth_frame(480, 640)
    matrix = face_matrix(256, (320, 240), scale=1.0)
    tinted = generated(frame, matrix, 256, tint=(8, -5, 3))
    pasted = FacePaster(fixed_mask(256))(frame, tinted, matrix)
    hole = weight_in_frame(frame, matrix, 256) == 1
    difference = (pasted.astype(float) - frame)[hole].mean(axis=0)
    np.testing.assert_allclose(difference, 0, atol=0.6)


def test_colour_offset_is_limited():
    frame = np.full((480, 640, 3), 100, np.uint8)
    matrix = face_matrix(256, (320, 240), scale=1.0)
    pasted = FacePaster(fixed_mask(256))(frame, generated(frame, matrix, 256, tint=(40, 40, 40)), matrix)
    level = pasted[weight_in_frame(frame, matrix, 256) == 1].mean()
    assert level == pytest.approx(140 - OFFSET_LIMIT, abs=0.1)


def test_colour_offset_changes_slowly_and_starts_anew_with_a_paster():
    frame = np.full((480, 640, 3), 100, np.uint8)
    matrix = face_matrix(256, (320, 240), scale=1.0)
    hole = weight_in_frame(frame, matrix, 256) == 1
    plain, tinted = (generated(frame, matrix, 256, tint=(t, t, t)) for t in (0, 10))
    paster = FacePaster(fixed_mask(256))
    assert paster(frame, plain, matrix)[hole].mean() == pytest.approx(100, abs=0.1)
    levels = [paster(frame, tinted, matrix)[hole].mean() for _ in range(12)]
    assert levels[0] == pytest.approx(108, abs=0.1)
    assert levels == sorted(levels, reverse=True) and levels[-1] < 102
    assert FacePaster(fixed_mask(256))(frame, tinted, matrix)[hole].mean() == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("scale", [0.15, 0.25, 0.4])
def test_fine_detail_of_a_small_face_does_not_alias(scale):
    """A pattern of the square's finest stripes is grey in a frame that cannot show it."""
    frame = np.full((240, 320, 3), 128, np.uint8)
    stripes = torch.ones(3, 512, 512)
    stripes[:, ::2] = -1
    matrix = face_matrix(512, (160, 120), scale=scale, degrees=5)
    pasted = FacePaster(fixed_mask(512))(frame, stripes, matrix)
    hole = weight_in_frame(frame, matrix, 512) == 1
    assert pasted[hole].std() < 3


def test_decoder_values_beyond_the_range_saturate():
    frame = np.full((480, 640, 3), 250, np.uint8)
    matrix = face_matrix(256, (320, 240), scale=1.0)
    face = torch.full((3, 256, 256), 1.3, dtype=torch.float16)
    pasted = FacePaster(fixed_mask(256))(frame, face, matrix)
    assert pasted.min() >= 245


def test_paste_crop_restores_a_smooth_frame():
    frame = smooth_frame(480, 640)
    matrix = face_matrix(256, (310, 250), scale=1.1, degrees=12)
    pasted = paste_crop(frame, generated(frame, matrix, 256), matrix)
    assert (pasted != frame).any() and psnr(pasted, frame, np.ones(frame.shape[:2], bool)) > 38


def test_paste_crop_of_a_tiny_face():
    """The public rule's erosion falls back to 3 x 3 where its size would be 0."""
    frame = np.full((100, 100, 3), 50, np.uint8)
    pasted = paste_crop(frame, torch.ones(3, 256, 256), face_matrix(256, (50, 50), scale=0.05))
    assert (pasted == 255).any() and (pasted == 50).any()
