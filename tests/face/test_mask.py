import hashlib

import cv2
import numpy as np
import pytest
import torch

from latentsync.errors import ConfigError
from latentsync.face.mask import MASK_FILE, fixed_mask

from ..golden_families import Golden
from .mask_geometry import draw_mask

GREY_SHA256 = "f8b78274914708ee3b64f800d9c4571b00906863af5df049240c708ee33ef869"
ENLARGED_SHA256 = "d3ed095906075f615398881f503d10469bc76870199ce29faffd5f500c043ce8"  # 512 x 512


def sha256(mask: torch.Tensor) -> str:
    return hashlib.sha256((mask * 255).round().byte().numpy().tobytes()).hexdigest()


def test_stored_mask_is_the_drawn_one():
    stored = cv2.imread(str(MASK_FILE), cv2.IMREAD_UNCHANGED)
    assert stored.shape == (256, 256, 3)
    np.testing.assert_array_equal(stored, draw_mask()[..., None].repeat(3, axis=2))
    assert hashlib.sha256(draw_mask().tobytes()).hexdigest() == GREY_SHA256


def test_mask_keeps_ones_and_generates_zeros():
    mask = fixed_mask(256)
    assert mask.shape == (1, 256, 256) and mask.dtype == torch.float32
    assert set(mask.unique().tolist()) == {0.0, 1.0} and (mask == 0).sum() == 26673
    assert mask[0, 110, 128] == 1 and mask[0, 180, 128] == 0  # nose, mouth
    assert sha256(mask) == GREY_SHA256 and sha256(fixed_mask(512)) == ENLARGED_SHA256


def test_mask_equals_the_public_one():
    golden = Golden.load(MASK_FILE.parents[2] / "tests" / "golden" / "masked_inputs.json").arrays
    for resolution in (64, 256, 512):
        mask = fixed_mask(resolution)[0]
        np.testing.assert_allclose(mask[::8, ::8], golden[f"mask_latent_{resolution}"], atol=1e-5)
        np.testing.assert_allclose(mask.sum(), golden[f"mask_sum_{resolution}"], rtol=1e-5)


@pytest.mark.parametrize("path", ["latentsync/utils/mask.png", "/elsewhere/latentsync/utils/mask.png"])
def test_public_path_is_our_mask(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert torch.equal(fixed_mask(128, path), fixed_mask(128))


def test_own_mask_file_is_read(tmp_path):
    picture = np.full((40, 40), 255, np.uint8)
    picture[20:] = 0
    for name, image in (("grey.png", picture), ("rgb.png", cv2.merge([picture] * 3))):
        cv2.imwrite(str(tmp_path / name), image)
        mask = fixed_mask(40, tmp_path / name)
        assert mask[0, :20].min() == 1 and mask[0, 20:].max() == 0


def test_unusable_mask_files_name_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match="mask_image_path"):
        fixed_mask(256, tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ConfigError, match="not an image"):
        fixed_mask(256, tmp_path / "text.png")
    cv2.imwrite(str(tmp_path / "red.png"), np.full((8, 8, 3), (0, 0, 255), np.uint8))
    with pytest.raises(ConfigError, match="coloured"):
        fixed_mask(256, tmp_path / "red.png")
