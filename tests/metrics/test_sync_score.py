"""Offset and confidence from the vectors of windows."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from latentsync.metrics.sync_score import embed_windows, similarity_by_offset, sync_score


def vectors(n: int, early: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of pictures and of sound that is early by some frames."""
    both = normalize(torch.randn(n + 40, 64, generator=torch.Generator().manual_seed(1)), dim=1)
    return both[20 : 20 + n], both[20 + early : 20 + early + n]


@pytest.mark.parametrize("every", [1, 2, 3, 7])
@pytest.mark.parametrize("early", [-15, -6, 0, 1, 15])
def test_offsets_are_exact_whatever_is_looked_at(early, every):
    vision, audio = vectors(60, early)
    score = sync_score(vision[::every], audio, every=every)
    assert score.offset == early and score.confidence > 0.8


def test_every_window_gives_the_mean_of_the_diagonals():
    vision, audio = vectors(30, 2)
    similarity = vision @ audio.T
    diagonals = torch.stack([similarity.diagonal(-offset).mean() for offset in range(-15, 16)])
    torch.testing.assert_close(similarity_by_offset(vision, audio), diagonals)


def test_an_offset_that_no_pair_has_is_no_number():
    vision, audio = vectors(5, 0)
    by_offset = similarity_by_offset(vision[::3], audio, every=3)
    assert math.isnan(by_offset[0]) and math.isnan(by_offset[-1]) and not math.isnan(by_offset[15])


class Network(nn.Module):
    """Vectors are the first frame's level, and the sound's first value."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.looked_at = 0

    def encode_visual(self, pictures: torch.Tensor) -> torch.Tensor:
        self.looked_at += len(pictures)
        return pictures[:, 0, 0, 0, :1]

    def encode_audio(self, mels: torch.Tensor) -> torch.Tensor:
        return mels[:, 0, 0, :1]


def test_pictures_of_every_such_window_are_looked_at():
    frames = torch.arange(25, dtype=torch.uint8)[:, None, None, None].expand(25, 3, 2, 2)
    mels = torch.arange(20.0)[:, None, None, None].expand(20, 1, 80, 4)
    network = Network()
    vision, audio = embed_windows(network, frames, mels, lambda windows: windows, batch=3, every=4)
    assert vision.flatten().tolist() == [0, 4, 8, 12, 16] and audio.flatten().tolist() == list(range(20))
    assert network.looked_at == 5
