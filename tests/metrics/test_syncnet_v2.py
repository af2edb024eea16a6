"""Sync confidence on streams of frames; the numbers of its network are in test_golden.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentsync.errors import MeasureError
from latentsync.metrics import syncnet_v2 as module
from latentsync.metrics.syncnet_v2 import embed_pictures, embed_sound, score_clip, sync_distance
from latentsync.models.syncnet_v2 import SyncNetV2

TABLE = Path(__file__).parents[1] / "state_dict/syncnet_v2.json"


class Stub(nn.Module):
    """Tells what it was shown: the first frame of each window, and the first column of the sound."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.shown = 0  # frames at once, at most

    def encode_lips(self, frames: Tensor) -> Tensor:
        self.shown = max(self.shown, frames.shape[2])
        return _long(frames[0, :, :-4].mean(dim=(2, 3)).T)

    def encode_sound(self, mfcc: Tensor) -> Tensor:
        return _long(mfcc[:, 0, :, 0])


def _long(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_zeros(len(x), 1024 - x.shape[1])], dim=1)


def frames(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.full((30, 40, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(n)]


def sound(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-9000, 9000, 640 * n).astype(np.int16)


def vectors(n: int = 60, seed: int = 0) -> Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


def test_keys_and_shapes_are_those_of_the_public_file():
    with torch.device("meta"):
        state = SyncNetV2().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == json.loads(TABLE.read_text())


@torch.no_grad()
def test_a_clip_in_one_piece_is_its_windows():
    torch.manual_seed(0)
    net = SyncNetV2().eval()
    clip = 255 * torch.rand(1, 3, 6, 224, 224)
    windows = torch.cat([clip[:, :, :5], clip[:, :, 1:]])
    torch.testing.assert_close(net.encode_lips(clip), net.encode_lips(windows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 5, 16, 64])
def test_the_size_of_batches_changes_nothing(batch):
    stub, pictures = Stub(), frames(37)
    found = embed_pictures(stub, iter(pictures), batch=batch)
    assert found.shape == (33, 1024) and stub.shown <= batch + 4
    expected = [frame[0, 0, ::-1] for frame in pictures[:33]]  # blue first
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-3)
    assert torch.equal(embed_sound(stub, sound(37), batch=batch), embed_sound(stub, sound(37)))


def test_windows_of_sound_start_with_their_frames():
    samples = sound(20)
    found = embed_sound(Stub(), samples)
    assert found.shape == (15, 1024)
    np.testing.assert_array_equal(found[:, :13], module.mfcc(samples)[:60:4])


@pytest.mark.parametrize("shift", [-7, 0, 1, 15])
def test_the_offset_is_how_early_the_sound_is(shift):
    events = vectors(100)
    score = sync_distance(events[20:80], events[20 + shift : 80 + shift])
    assert score.offset == shift and score.distance < 1 < score.confidence
    assert score.by_offset.shape == (31,) and score.by_offset[15 + shift] == score.by_offset.min()


def test_what_is_longer_is_cut():
    stub, pictures, samples = Stub(), frames(40), sound(40)
    exact = score_clip(stub, pictures[:30], samples[: 640 * 30])
    for longer in (score_clip(stub, pictures, samples[: 640 * 30 + 639]), score_clip(stub, pictures[:30], samples)):
        assert torch.equal(longer.by_offset, exact.by_offset)


def test_frames_are_read_only_as_far_as_there_is_sound():
    def endless():
        while True:
            yield from frames(3)

    score_clip(Stub(), endless(), sound(9))


def test_six_frames_are_enough():
    assert np.isfinite(score_clip(Stub(), frames(6), sound(6)).distance)


@pytest.mark.parametrize(
    ("n_frames", "n_sound", "got"),
    [(5, 9, "5 frames"), (0, 9, "0 frames"), (9, 5, "sound for 5"), (9, 0, "sound for 0")],
)
def test_a_clip_that_is_too_short(n_frames, n_sound, got):
    with pytest.raises(MeasureError) as caught:
        score_clip(Stub(), frames(n_frames), sound(n_sound), name="a.mp4")
    assert str(caught.value) == f"a.mp4: expected 6 frames with sound or more, got {got}; use a longer clip"
