"""The detector of sync confidence on pictures; the numbers of its network are in test_golden.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentsync.metrics.s3fd import S3FD, candidates, decode, detect_faces, priors

from ..golden_families import golden_rule

TABLE = Path(__file__).parents[1] / "state_dict/s3fd.json"
rule = golden_rule()


class Stub(nn.Module):
    """Sees the same in every picture: faces in these boxes (k, 4), parts of it, with these scores."""

    def __init__(self, boxes: list[list[float]], scores: list[float]) -> None:
        super().__init__()
        x0, y0, x1, y1 = torch.tensor(boxes).T
        self.table = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=1)
        self.scores = torch.tensor(scores)
        self.L2Norm3_3 = nn.Linear(1, 1)
        self.shown: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.shown.append(tuple(images.shape))
        conf = torch.stack([1 - self.scores, self.scores], dim=1)
        return torch.zeros(len(images), *self.table.shape), conf.expand(len(images), -1, -1), self.table


@pytest.fixture(scope="module")
def network() -> S3FD:
    with torch.device("meta"):
        net = S3FD()
    rule.apply_to_module(net.to_empty(device="cpu").eval())
    with torch.no_grad():
        for norm in (net.L2Norm3_3, net.L2Norm4_3, net.L2Norm5_3):
            norm.weight.mul_(5)  # or it would be sure of nothing
    return net


def test_keys_and_shapes_are_those_of_the_public_file():
    with torch.device("meta"):
        state = S3FD().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == json.loads(TABLE.read_text())


def test_the_size_of_batches_changes_nothing(network):
    frames = [rule.smooth_image(64, 96, phase=i) for i in range(5)]
    found = {n: list(detect_faces(network, frames, scale=1, min_score=0.6, batch=n)) for n in (1, 2, 5)}
    assert sum(len(boxes) for boxes in found[1]) > 5
    for other in (found[2], found[5]):
        for a, b in zip(found[1], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_frames_of_any_size_have_maps(network):
    for shape in ((20, 34, 3), (128, 200, 3), (131, 33, 3)):
        assert len(list(detect_faces(network, [np.zeros(shape, np.uint8)]))) == 1


def test_boxes_are_pixels_of_the_frame_as_it_came():
    stub = Stub([[0.25, 0.5, 0.5, 0.75]], [0.95])
    (found,) = detect_faces(stub, [np.zeros((400, 800, 3), np.uint8)])
    np.testing.assert_allclose(found, [[200, 200, 400, 300, 0.95]], rtol=1e-6)
    assert stub.shown == [(1, 3, 100, 200)] and found.dtype == np.float32


def test_a_face_counts_once_and_only_where_it_is_sure():
    boxes = [[0.5, 0.5, 0.6, 0.6], [0, 0, 0.4, 0.4], [0.2, 0.2, 0.6, 0.6], [0.7, 0.7, 1, 1]]
    stub = Stub(boxes, [0.91, 0.95, 0.99, 0.9])
    for found in detect_faces(stub, [np.zeros((200, 200, 3), np.uint8)] * 3, batch=2):
        # The second overlaps the third by 0.14; the first lies in it, a sixteenth of it; the last is not sure enough.
        np.testing.assert_allclose(found[:, 4], [0.99, 0.91])
    assert [shape[0] for shape in stub.shown] == [2, 1]


def test_no_face_is_an_empty_list_of_boxes():
    (found,) = detect_faces(Stub([[0, 0, 1, 1]], [0.01]), [np.zeros((200, 200, 3), np.uint8)])
    assert found.shape == (0, 5)


def test_candidates_are_few_and_the_best_come_first():
    grid = torch.arange(6000.0)[:, None] * 2
    boxes = torch.cat([grid, grid, grid + 1, grid + 1], dim=1)  # none touches another
    scores = torch.linspace(0, 1, 6000)
    assert candidates(boxes, scores).tolist() == list(range(5999, 5249, -1))
    assert candidates(boxes, scores / 10).tolist() == list(range(5999, 5249, -1))
    assert candidates(boxes, scores / 20).tolist() == []


def test_places_relative_to_nothing_are_the_priors():
    table = priors(64, 128, ((16, 32), (8, 16), (4, 8), (2, 4), (1, 2), (1, 1)))
    first, last = decode(torch.zeros(len(table), 4), table)[[0, -1]]
    torch.testing.assert_close(first, torch.tensor([-6 / 128, -6 / 64, 10 / 128, 10 / 64]))
    torch.testing.assert_close(last, torch.tensor([(64 - 256) / 128, (64 - 256) / 64, 320 / 128, 320 / 64]))
