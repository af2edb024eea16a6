"""What augmentation may change, and what not."""

import numpy as np
import torch

from latentsync.data.augment import augment_frames, augment_mel, shift


def draws(n: int):
    return (np.random.default_rng(seed) for seed in range(n))


def test_frames_of_a_sample_change_alike():
    frames = torch.randint(256, (1, 3, 16, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for rng in draws(20):
        changed = augment_frames(frames.expand(5, -1, -1, -1), rng)
        assert changed.dtype == torch.uint8 and changed.shape == (5, 3, 16, 32)
        assert (changed == changed[:1]).all()


def test_half_of_the_faces_are_mirrored_and_none_is_turned():
    ramp = torch.linspace(60, 180, 64).to(torch.uint8).expand(1, 3, 16, 64)  # brighter to the right
    mirrored = 0
    for rng in draws(200):
        rows = augment_frames(ramp, rng).float()
        assert (rows == rows[..., :1, :]).all()
        mirrored += bool(rows[..., 0].sum() > rows[..., -1].sum())
    assert 70 < mirrored < 130


def test_light_keeps_what_is_brighter_and_is_right_on_average():
    grey = torch.arange(0, 256, 4, dtype=torch.uint8).expand(1, 3, 64, 64).mT  # rows of one tone
    means = []
    for rng in draws(200):
        column = augment_frames(grey, rng)[0, :, 4:-4, 0].int()
        assert (column.diff(dim=1) >= 0).all()
        means.append(column.float().mean().item())
    assert abs(np.mean(means) - 126) < 8 and 10 < np.std(means) < 40


def test_shifted_frames_repeat_their_edge():
    frames = torch.arange(12).view(1, 3, 4)
    assert shift(frames, 1, 0).tolist() == [[[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]]
    assert shift(frames, 0, -2).tolist() == [[[2, 3, 3, 3], [6, 7, 7, 7], [10, 11, 11, 11]]]
    assert shift(frames, 0, 0).tolist() == frames.tolist()


def test_sound_stays_within_its_range():
    mel = torch.linspace(-4, 4, 100)
    for rng in draws(20):
        changed = augment_mel(mel, rng)
        assert changed.min() >= -4 and changed.max() <= 4 and (changed.diff() >= 0).all()
