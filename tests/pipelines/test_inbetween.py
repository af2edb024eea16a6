"""Frames between those that the networks make."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import pytest
import torch

from latentsync.pipelines.inbetween import key_step, sync_keys
from latentsync.pipelines.windows import Item
from latentsync.types import SyncedFace

from .test_windows import item


def sync(items: Iterable[Item]) -> Iterator[SyncedFace]:
    """Stands in for the networks: a window of three at a time, each crop showing its frame's number."""
    held: list[SyncedFace] = []
    for face, _ in items:
        crop = None if face.pose is None else torch.full((3, 2, 2), float(face.index))
        held.append(SyncedFace(face.index, face.frame, face.pose, crop))
        if len(held) == 3:
            yield from held
            held = []
    yield from held


def made(runs: list[int | None], step: int) -> list[float | None]:
    """What each frame's crop shows."""
    out = list(sync_keys([item(i, run) for i, run in enumerate(runs)], step, sync))
    assert [face.index for face in out] == list(range(len(runs)))
    return [None if face.crop is None else face.crop.mean().item() for face in out]


@pytest.mark.parametrize(
    ("rate", "step"), [(12, 1), (25, 1), (30, 1), (Fraction(30000, 1001), 1), (31, 2), (50, 2), (60, 2), (120, 4)]
)
def test_networks_run_at_no_more_than_30_frames_a_second(rate, step):
    assert key_step(Fraction(rate)) == step


def test_step_one_is_the_networks_own():
    assert made([0] * 7, 1) == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9])
def test_a_steady_change_stays_steady(n):
    expected = [float(min(i, (n - 1) // 2 * 2)) for i in range(n)]
    assert made([0] * n, 2) == expected


def test_a_longer_step_blends_by_distance():
    assert made([0] * 7, 3) == pytest.approx([0, 1, 2, 3, 4, 5, 6])


def test_nothing_is_blended_across_runs():
    # Run 1 begins at frame 4, which is therefore a key; frame 3 copies the last key of its own run.
    assert made([0, 0, 0, 0, 1, 1, 1], 2) == [0, 1, 2, 2, 4, 5, 6]


def test_frames_without_a_face_pass_in_their_place():
    assert made([0, 0, None, None, 1, 1, 1], 2) == [0, 0, None, None, 4, 5, 6]
