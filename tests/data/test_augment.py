"""What augmentation may change, and what not."""

import numpy as np
import pytest
import torch

from latentsync.data.augment import augment_frames, augment_mel, roughen, shift, stretch
from latentsync.data.mel import N_MELS, filter_bank


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


def test_sound_stays_within_its_range_and_its_time():
    """What is silent in all bands at one time, and only then, is the softest afterwards, too."""
    mel = torch.full((2, 1, N_MELS, 20), 1.0)
    mel[..., 7] = -2.0
    for rng in draws(20):
        changed = augment_mel(mel, rng)
        assert changed.shape == mel.shape and changed.dtype == torch.float32
        assert changed.min() >= -4 and changed.max() <= 4
        loudness = changed.mean(dim=(1, 2))
        assert (loudness.argmin(dim=1) == 7).all() and torch.equal(changed[0], changed[1])


def test_voices_are_as_high_as_low_on_average():
    tone = torch.full((N_MELS, 1), -4.0)
    tone[40] = 4.0
    bands = [augment_mel(tone, rng).argmax().item() for rng in draws(200)]
    assert abs(np.mean(bands) - 40) < 1 and 2 < np.std(bands) < 5


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_a_stretched_spectrum_has_its_peak_at_the_stretched_frequency(factor):
    centres = (filter_bank() * torch.linspace(0, 8000, 401)).sum(dim=1) / filter_bank().sum(dim=1)
    peak = torch.zeros(N_MELS, 1)
    peak[40] = 1
    assert stretch(peak, factor).argmax() == (centres - factor * centres[40]).abs().argmin()
    assert factor != 1 or torch.equal(stretch(peak, factor), peak)


def test_half_of_the_frames_are_roughened_a_little():
    cells = torch.randint(60, 200, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames = cells.repeat_interleave(4, -1).repeat_interleave(4, -2)
    changed = [roughen(frames, rng) for rng in draws(100)]
    rough = [x for x in changed if not torch.equal(x, frames)]
    assert 30 < len(rough) < 70
    for x in rough:
        assert x.dtype == torch.uint8 and x.shape == frames.shape
        assert abs((x.float() - frames).mean()) < 0.5  # as bright as before
        assert (x[..., 1::4, 1::4].float() - frames[..., 1::4, 1::4]).abs().mean() < 40
