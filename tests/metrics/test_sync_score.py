"""Offset, confidence and accuracy from the vectors of windows."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from latentsync.metrics.sync_score import embed_pictures, embed_sounds, similarities, sync_score


def vectors(n: int, early: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of pictures and of sound that is early by some frames."""
    both = normalize(torch.randn(n + 40, 64, generator=torch.Generator().manual_seed(1)), dim=1)
    return both[20 : 20 + n], both[20 + early : 20 + early + n], torch.arange(n)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
@pytest.mark.parametrize("early", [-15, -6, 0, 1, 15])
def test_offsets_are_exact_whatever_is_looked_at(early, every):
    vision, audio, starts = vectors(60, early)
    score = sync_score(vision[::every], audio, starts[::every])
    assert score.offset == early and score.confidence > 0.8 and score.distance == pytest.approx(0, abs=1e-5)


def test_the_confidence_of_a_clip_as_it_is_knows_no_other_offset():
    right, wrong = (sync_score(*vectors(60, early)) for early in (0, 4))
    assert right.confidence_at_0 == right.confidence
    assert wrong.confidence > 0.8 and abs(wrong.confidence_at_0) < 0.2


@pytest.mark.parametrize(("early", "expected"), [(0, 1), (7, 0.5 - 1 / 44)])
def test_accuracy_is_that_of_windows_as_they_are_and_of_windows_apart(early, expected):
    """Sound seven frames early: none is called in sync as it is, and one of the 22 offsets apart wrongly is."""
    assert sync_score(*vectors(60, early)).accuracy(min_distance=5) == pytest.approx(expected)


def test_every_window_gives_the_means_of_the_diagonals():
    vision, audio, starts = vectors(30, 2)
    similarity = vision @ audio.T
    expected = torch.stack([similarity.diagonal(-offset).mean() for offset in range(-15, 16)])
    torch.testing.assert_close(torch.stack([some.mean() for some in similarities(vision, audio, starts)]), expected)


def test_an_offset_that_no_pair_has_is_no_number():
    vision, audio, starts = vectors(5, 0)
    by_offset = sync_score(vision[::3], audio, starts[::3]).by_offset
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


FRAMES = list(torch.arange(25, dtype=torch.uint8)[:, None, None, None].expand(25, 3, 2, 2))


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_pictures_of_every_such_window_are_looked_at(batch):
    network = Network()
    vision, starts = embed_pictures(network, iter(FRAMES), 6, lambda windows: windows, batch=batch, every=4)
    assert vision.flatten().tolist() == starts.tolist() == [0, 4, 8, 12, 16] and network.looked_at == 5


def test_windows_with_a_frame_without_a_face_are_left_out():
    frames = [*FRAMES[:8], None, *FRAMES[9:]]
    vision, starts = embed_pictures(Network(), frames, 6, lambda windows: windows)
    assert vision.flatten().tolist() == starts.tolist() == [0, 1, 2, *range(9, 20)]


def test_too_few_frames_have_no_window():
    vision, starts = embed_pictures(Network(), FRAMES[:5], 6, lambda windows: windows)
    assert len(vision) == len(starts) == 0


def test_sounds_have_a_vector_each():
    mels = (np.full((1, 80, 4), i, np.float32) for i in range(7))
    assert embed_sounds(Network(), mels, batch=3).flatten().tolist() == list(range(7))
