"""Structure of HyperIQA and its way with frames; its numbers are in test_golden.py."""

import json
from pathlib import Path

import torch
from torch import nn

from latentsync.metrics.hyper_iqa import HyperIQA, chosen_frames, judge, network_input, quality

TABLE = Path(__file__).parents[1] / "state_dict/hyper_iqa.json"


def test_keys_and_shapes_are_those_of_the_public_file():
    with torch.device("meta"):
        state = HyperIQA().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == json.loads(TABLE.read_text())


def test_a_video_is_judged_by_its_first_middle_and_last_frame():
    assert [chosen_frames(n) for n in (1, 2, 5, 100)] == [(0, 0, 0), (0, 1, 1), (0, 2, 4), (0, 50, 99)]


def test_the_middle_of_a_frame_is_seen():
    frame = torch.zeros(1, 3, 300, 260, dtype=torch.uint8)
    frame[..., 38:262, 18:242] = 255
    white = network_input(frame)
    assert white.shape == (1, 3, 224, 224)
    assert all(channel.unique().numel() == 1 for channel in white[0])
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))


def test_a_small_frame_has_black_around_it():
    small = network_input(torch.full((1, 3, 100, 224), 255, dtype=torch.uint8))
    assert small.shape == (1, 3, 224, 224) and (small[0, 0, :, 5] > 0).sum() == 100
    assert torch.equal(small[0, :, 0, 0], network_input(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))[0, :, 0, 0])


def test_each_picture_is_judged_by_layers_of_its_own():
    features = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    first = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.zeros(2, 1)
    last = torch.tensor([[[10.0]], [[100.0]]]), torch.tensor([[1.0], [2.0]])
    expected = torch.tensor([1 + 10 * torch.tensor(1.0).sigmoid(), 2 + 100 * torch.tensor(2.0).sigmoid()])
    torch.testing.assert_close(judge(features, [first, last]), expected)


def test_the_quality_of_a_video_is_its_frames_mean():
    class Stub(nn.Module):
        fc5b_fc = nn.Linear(1, 1)

        def forward(self, pictures):
            return pictures[:, 0, 0, 0]

    frames = [torch.full((3, 300, 260), value, dtype=torch.uint8) for value in (0, 255, 255)]
    assert abs(quality(Stub(), frames) - (2 / 3 - 0.485) / 0.229) < 1e-5
