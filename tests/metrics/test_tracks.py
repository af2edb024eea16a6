"""Boxes over time whose tracks are known."""

import weakref
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest

from latentsync.metrics.tracks import TrackOptions, find_faces, link_tracks

REFERENCE = TrackOptions.reference()
NOBODY = np.empty((0, 5), np.float32)


def box(x: float, y: float = 100, side: float = 120, score: float = 0.99) -> list[float]:
    return [x, y, x + side, y + side, score]


def seen(n: int, absent: Sequence[int] = (), **person: float) -> list[np.ndarray]:
    """Somebody who moves by a pixel each frame, but for some frames."""
    return [NOBODY if i in absent else np.array([box(50 + i, **person)], np.float32) for i in range(n)]


def together(*people: list[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate(boxes) for boxes in zip(*people, strict=True)]


def link(faces: list[np.ndarray], options: TrackOptions = REFERENCE, cuts: Sequence[int] = ()) -> list[tuple[int, int]]:
    """First frame and length of all tracks."""
    edges = [0, *cuts, len(faces)]
    tracks = link_tracks(faces, list(pairwise(edges)), options)
    return [(track.first, len(track.boxes)) for track in tracks]


def test_a_gap_of_24_is_bridged_and_one_of_25_is_not():
    assert link(seen(150, absent=range(60, 84))) == [(0, 150)]
    assert link(seen(150, absent=range(60, 85))) == [(0, 60), (85, 65)]


def test_boxes_in_a_gap_lie_on_the_line_between_its_ends():
    (track,) = link_tracks(seen(80, absent=range(30, 50)), [(0, 80)], REFERENCE)
    assert track.boxes.shape == (80, 4) and track.boxes.dtype == np.float64
    np.testing.assert_allclose(track.boxes, [box(50 + i)[:4] for i in range(80)], rtol=1e-12)


def test_the_public_measure_wants_more_than_fifty_detections():
    assert link(seen(50)) == [] and link(seen(51)) == [(0, 51)]
    assert link(seen(60, absent=range(20, 30))) == [] and link(seen(61, absent=range(20, 30))) == [(0, 61)]


def test_by_default_six_detections_are_enough():
    assert link(seen(5), TrackOptions()) == [] and link(seen(6), TrackOptions()) == [(0, 6)]
    assert link(seen(12, absent=range(3, 9)), TrackOptions()) == [(0, 12)]


def test_a_face_is_more_than_a_hundred_pixels_wide_or_high():
    assert link(seen(60, side=100)) == [] and link(seen(60, side=100.5)) == [(0, 60)]
    tall = [np.array([[0, 0, 40, 101, 1]])] * 60
    assert link(tall) == [(0, 60)]


def test_a_face_that_jumps_by_a_third_of_its_size_begins_a_new_track():
    def jump(pixels: float) -> list[np.ndarray]:
        return [np.array([box(50 + pixels * (i >= 60), side=120)]) for i in range(120)]

    assert link(jump(39)) == [(0, 120)]
    assert link(jump(40)) == [(0, 60), (60, 60)]  # half of the union is common, exactly


def test_several_people_have_a_track_each_whatever_their_order():
    left, right = seen(80), seen(80, y=400)
    shuffled = [boxes[:: (-1) ** i] for i, boxes in enumerate(together(left, right))]
    tracks = link_tracks(shuffled, [(0, 80)], REFERENCE)
    assert sorted(track.boxes[:, 1].tolist()[0] for track in tracks) == [100, 400]
    assert all((track.boxes[:, 1] == track.boxes[0, 1]).all() and len(track.boxes) == 80 for track in tracks)


def test_who_leaves_and_who_comes():
    first, second = seen(150, absent=range(70, 150)), seen(150, absent=range(60), y=400)
    assert link(together(first, second)) == [(0, 70), (60, 90)]


def test_a_cut_ends_a_track():
    assert link(seen(120), cuts=[55]) == [(0, 55), (55, 65)]
    assert link(seen(120), cuts=[30, 40]) == [(40, 80)]
    assert link(seen(120), TrackOptions(), cuts=[30, 35]) == [(0, 30), (35, 85)]


def test_scenes_of_fewer_frames_than_wanted_have_no_track():
    options = TrackOptions(min_scene=40, min_detections=6)
    assert link(seen(100, absent=range(10, 90)), options, cuts=[39]) == [(90, 10)]


def test_nobody_has_no_track():
    assert link([NOBODY] * 60) == [] == link_tracks([], [(0, 0)], REFERENCE)


@pytest.mark.parametrize("options", [{"median": 12}, {"repeat_ends": False}])
def test_options_that_cannot_work(options):
    with pytest.raises(ValueError, match="expected"):
        TrackOptions(**options)


def scene(n: int, color: tuple[int, int, int], seed: int) -> Iterator[np.ndarray]:
    for i in range(n):
        frame = np.full((60, 80, 3), color, np.uint8)
        frame[i % 60, seed] = 255
        yield frame


def brightest(frames: np.ndarray) -> list[np.ndarray]:
    """A face where a frame is brightest, in three frames of four."""
    rows = frames[..., 0].reshape(len(frames), -1).argmax(axis=1) // 80
    return [np.array([box(float(row))]) if row % 4 else NOBODY for row in rows]


@pytest.mark.parametrize("batch", [1, 3, 4, 100])
def test_the_size_of_batches_changes_nothing(batch):
    frames = [*scene(30, (200, 10, 10), 3), *scene(21, (10, 10, 200), 7)]
    faces, scenes = find_faces(frames, brightest, TrackOptions(), batch=batch)
    assert scenes == [(0, 30), (30, 51)]
    assert find_faces(frames, brightest, REFERENCE, batch=batch)[1] == [(0, 30), (30, 50)]
    expected = [found for frame in frames for found in brightest(frame[None])]
    assert all(np.array_equal(a, b) for a, b in zip(faces, expected, strict=True))


def test_frames_are_let_go():
    made: list[weakref.ref] = []
    most = 0

    def watched() -> Iterator[np.ndarray]:
        nonlocal most
        for frame in scene(60, (90, 90, 90), 0):
            made.append(weakref.ref(frame))
            most = max(most, sum(reference() is not None for reference in made))
            yield frame

    faces, _ = find_faces(watched(), brightest, TrackOptions(), batch=4)
    assert len(faces) == 60 and most <= 9


def test_a_detector_that_forgets_frames():
    with pytest.raises(ValueError, match="expected the detector's faces of 4 frames, got those of 1"):
        find_faces(scene(8, (0, 0, 0), 0), lambda frames: [NOBODY], TrackOptions())
