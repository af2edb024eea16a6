"""The VAE's samples: where they lie, what is masked, and that nothing but their number decides."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.data.clips import TrainingClip
from latentsync.data.vae_dataset import MOUTH, VAEDataset, crop_start, mouth_box
from latentsync.face.mask import fixed_mask
from latentsync.types import Clip

SIDE, CROP, KEPT = 64, 32, 4


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[TrainingClip]:
    """Frames that tell their number by blue, and each pixel's row and column by red and green."""
    folder, clips = tmp_path_factory.mktemp("frames"), []
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for clip in range(3):
        frames = np.stack([np.stack([rows, columns, np.full_like(rows, 10 * clip + i)], -1) for i in range(KEPT)])
        path = folder / f"{clip}.npy"
        np.save(path, frames.astype(np.uint8))
        clips.append(TrainingClip(Clip(f"{clip}.mp4", Path(f"{clip}.mp4")), 75, folder / "mel.npy", frames=path))
    return clips


def dataset(clips, **changes) -> VAEDataset:
    values = {"crop": CROP, "mouth_crops": 0.5, "masked_crops": 0.25, "augment": False, "seed": 3}
    return VAEDataset(clips, fixed_mask(SIDE), frames_per_clip=KEPT, **(values | changes))


def corner(sample: dict) -> tuple[int, int]:
    return sample["frames"][0, 0, 0].item(), sample["frames"][1, 0, 0].item()


def test_a_sample_depends_on_seed_and_number_alone(clips):
    one, other, third = (dataset(clips, augment=True, seed=seed) for seed in (3, 3, 4))
    forward, backward = [one[n] for n in range(12)], [other[n] for n in reversed(range(12))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert all(torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key])) for key in a)
    assert not all(torch.equal(a["frames"], third[n]["frames"]) for n, a in enumerate(forward))


def test_every_kept_frame_and_every_place_is_shown(clips):
    samples = [dataset(clips, mouth_crops=0)[n] for n in range(400)]
    assert {s["frames"][2, 0, 0].item() for s in samples} == {10 * c + i for c in range(3) for i in range(KEPT)}
    for axis in zip(*map(corner, samples), strict=True):
        assert set(axis) == set(range(SIDE - CROP + 1))
    assert all(s["frames"].shape == (3, CROP, CROP) and s["frames"].dtype == torch.uint8 for s in samples)


def test_mouth_crops_hold_the_whole_mouth(clips):
    data = dataset(clips, mouth_crops=1)
    for n in range(50):
        for start, box in zip(corner(data[n]), mouth_box(SIDE), strict=True):
            assert start <= box.start and box.stop <= start + CROP <= SIDE


def test_a_crop_smaller_than_its_part_lies_in_it():
    rng, part = np.random.default_rng(0), slice(36, 52)
    starts = {crop_start(rng, SIDE, 8, part) for _ in range(200)}
    assert starts == set(range(36, 52 - 8 + 1))


@pytest.mark.parametrize("augment", [False, True])
def test_a_share_of_the_crops_is_masked_where_frames_are(clips, augment):
    mask, masked = fixed_mask(SIDE), 0
    data, plain = (dataset(clips, masked_crops=share, augment=on) for share, on in ((0.25, augment), (0, False)))
    for n in range(200):
        row, column = corner(plain[n])  # the same place: augmentation draws for itself
        sample = data[n]
        if (sample["mask"] == 1).all():
            continue
        masked += 1
        assert torch.equal(sample["mask"], mask[:, row : row + CROP, column : column + CROP])
    assert 20 < masked < 80


def test_no_crop_is_masked_unless_that_is_asked_for(clips):
    assert all((dataset(clips, masked_crops=0)[n]["mask"] == 1).all() for n in range(50))


def test_the_mouth_lies_within_what_is_generated():
    for resolution in (256, 512):
        rows, columns = mouth_box(resolution)
        assert (fixed_mask(resolution)[:, rows, columns] == 0).all()
    assert all(0 < a < b < 1 for a, b in MOUTH)


def test_clips_without_frames_are_refused(clips):
    with pytest.raises(ValueError, match="prepared with frames"):
        dataset([TrainingClip(clips[0].clip, 75, clips[0].mel)])
