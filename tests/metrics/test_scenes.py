"""Scenes of videos whose cuts are known."""

import numpy as np
import pytest

from latentsync.metrics.scenes import by_change, by_content, find_scenes, scenes


def video(*lengths: int, shape: tuple[int, int] = (90, 120)) -> list[np.ndarray]:
    """Scenes of so many frames, of noise that moves."""
    rng = np.random.default_rng(0)
    looks = [rng.integers(0, 256, (shape[0] // 10, shape[1] // 10, 3), np.uint8) for _ in lengths]
    pictures = [look.repeat(10, axis=0).repeat(10, axis=1) for look in looks]
    return [np.roll(picture, i, axis=1) for picture, n in zip(pictures, lengths, strict=True) for i in range(n)]


@pytest.mark.parametrize("finder", [by_content, by_change])
def test_cuts_are_where_another_picture_begins(finder):
    assert find_scenes(video(40, 25, 60), finder()) == [(0, 40), (40, 65), (65, 125)]
    assert find_scenes(video(30), finder()) == [(0, 30)]


def test_wide_frames_are_looked_at_in_small():
    assert find_scenes(video(20, 20, shape=(360, 780)), by_content()) == [(0, 20), (20, 40)]


def test_a_scene_that_is_too_short_has_no_cut_at_its_end():
    assert find_scenes(video(30, 14, 30), by_content()) == [(0, 30), (30, 74)]
    assert find_scenes(video(30, 15, 30), by_content()) == [(0, 30), (30, 45), (45, 75)]
    assert find_scenes(video(8, 12, 30), by_content()) == [(0, 20), (20, 50)]
    assert find_scenes(video(8, 12, 30), by_content(min_scene=8)) == [(0, 8), (8, 20), (20, 50)]


def test_the_last_frame_is_lost_on_request_where_there_are_cuts():
    assert scenes([75], 125) == [(0, 75), (75, 125)]
    assert scenes([75], 125, keep_last_frame=False) == [(0, 75), (75, 124)]
    assert scenes([], 125, keep_last_frame=False) == [(0, 125)]
