"""How frames are grouped into the clips of a U-Net call."""

import numpy as np
import pytest
import torch

from latentsync.pipelines.windows import cut_windows
from latentsync.types import AlignedFace, FacePose, Window


def item(index: int, run: int | None = 0) -> tuple[AlignedFace, torch.Tensor]:
    """Frame `index` with a face of run `run`, or without one."""
    frame = np.full((4, 4, 3), index % 256, np.uint8)
    if run is None:
        return AlignedFace(index, frame, None, None), torch.tensor([index])
    pose = FacePose(np.eye(2, 3), np.zeros((1, 2), np.float32))
    crop = torch.full((3, 2, 2), index % 256, dtype=torch.uint8)
    return AlignedFace(index, frame, pose, crop, run), torch.tensor([index])


def indices(window: Window) -> list[int]:
    assert window.audio.flatten().tolist() == [face.index for face in window.faces]
    return [face.index for face in window.faces]


def kept(windows: list) -> list[int]:
    out = []
    for item in windows:
        out += [face.index for face in item.faces[item.keep]] if isinstance(item, Window) else [item.index]
    return out


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9])
@pytest.mark.parametrize("fill", [True, False])
def test_every_frame_comes_out_once_and_in_order(n, fill):
    assert kept(list(cut_windows(map(item, range(n)), 4, fill=fill))) == list(range(n))


def test_a_short_rest_is_completed_by_the_frames_before_it():
    first, rest = cut_windows(map(item, range(6)), 4)
    assert (indices(first), first.keep) == ([0, 1, 2, 3], slice(0, 4))
    assert (indices(rest), rest.keep) == ([2, 3, 4, 5], slice(2, 4))


def test_a_run_shorter_than_a_window_is_mirrored():
    (window,) = cut_windows(map(item, range(3)), 8)
    assert (indices(window), window.keep) == ([0, 1, 2, 1, 0, 1, 2, 1], slice(0, 3))
    (single,) = cut_windows([item(0)], 4)
    assert indices(single) == [0, 0, 0, 0]


def test_the_public_rule_runs_the_rest_alone():
    assert [len(window.faces) for window in cut_windows(map(item, range(6)), 4, fill=False)] == [4, 2]


def test_a_frame_without_a_face_ends_the_window_and_passes_in_its_place():
    items = [item(0), item(1), item(2, None), item(3, None), item(4)]
    a, b, c, d = cut_windows(items, 4)
    assert (kept([a]), kept([d])) == ([0, 1], [4])
    assert [b.index, c.index] == [2, 3]
    assert 4 not in indices(a) and not {0, 1} & set(indices(d))


def test_another_run_begins_another_window():
    items = [item(i, 0) for i in range(5)] + [item(i, 1) for i in range(5, 8)]
    windows = list(cut_windows(items, 4))
    assert kept(windows) == list(range(8))
    assert all(set(indices(w)) <= set(range(5)) or set(indices(w)) <= {5, 6, 7} for w in windows)
    assert [len(w.faces) for w in cut_windows(items, 4, breaks=False)] == [4, 4]


def test_frames_that_are_out_are_not_held():
    rest = list(cut_windows(map(item, range(6)), 4))[1]
    assert [face.frame.size > 0 for face in rest.faces] == [False, False, True, True]
