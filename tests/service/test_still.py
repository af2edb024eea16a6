from contextlib import contextmanager

import numpy as np
import pytest

from latentsync import REPO_ROOT
from latentsync.errors import MediaError
from latentsync.face.detect import MediaPipeDetector
from latentsync.face.track import parse_face, track_faces
from latentsync.media.ffmpeg import VideoWriter, decode_frames
from latentsync.service.still import SIDE, Still, Stills

BLACK = np.zeros((512, 1024, 3), np.uint8)


@contextmanager
def detector():
    detector = MediaPipeDetector()
    try:
        yield detector
    finally:
        detector.close()


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """Two drawn people beside each other, (512, 1024, 3); the right one is smaller."""
    left, right = (next(decode_frames(REPO_ROOT / f"assets/demo{i}_video.mp4", n_frames=1)) for i in (1, 2))
    small = BLACK[:, :512].copy()
    small[100:484, 64:448] = right[::4, ::4].repeat(3, 0).repeat(3, 1)
    return np.concatenate([left, small], axis=1)


def write(path, *frames: np.ndarray):
    with VideoWriter(path, frames[0].shape[1], frames[0].shape[0], 25, preset="ultrafast") as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def still(people, tmp_path_factory) -> Still:
    return Stills(detector)(write(tmp_path_factory.mktemp("still") / "late.mp4", *[BLACK] * 5, *[people] * 3))


def test_the_first_frame_with_a_face_is_found(still, people):
    assert still.picture.shape == (SIDE // 2, SIDE, 3) and still.scale == SIDE / 1024
    assert np.abs(still.picture[::8, ::8].mean() - people[::8, ::8].mean()) < 3
    assert [bool(face.box[0] > 512) for face in still.faces] == [False, True]
    assert still.largest is still.faces[0]


@pytest.mark.parametrize(
    "face, number", [("largest", 0), ("0", 0), ("1", 1), ("2", None), ("5,505", None), ("left", None)]
)
def test_a_choice_means_a_face(still, face, number):
    assert still.chosen(face) is (None if number is None else still.faces[number])


def test_the_face_at_a_point_is_the_one_that_the_lip_sync_follows(still, people):
    for number, found in enumerate(still.faces):
        x, y = (found.box[:2] + found.box[2:]) / 2 * still.scale
        face = still.face_at(x + 9, y - 9)
        assert still.chosen(face) is still.faces[number]
        with detector() as own:
            (tracked,) = track_faces([people], own, choice=parse_face(face), rate=25)
        assert still.chosen(face).box[0] < tracked.landmarks[:, 0].mean() < still.chosen(face).box[2]
    assert still.face_at(SIDE / 2, 2) is None


def test_the_chosen_face_is_green(still):
    def is_green(number: int, face: str) -> bool:
        x0, _, x1, y1 = (still.faces[number].box * still.scale).round().astype(int)
        red, green, blue = still.drawn(face)[y1, (x0 + x1) // 2].astype(int)
        return bool(green > red + 50 and green > blue + 50)

    assert [is_green(number, "largest") for number in (0, 1)] == [True, False]
    assert [is_green(number, "1") for number in (0, 1)] == [False, True]
    assert not is_green(0, "nobo") and not is_green(1, "nobo")


def test_a_video_without_a_face_is_shown(tmp_path):
    still = Stills(detector)(write(tmp_path / "black.mp4", *[BLACK] * 3))
    assert still.faces == () and still.largest is None and still.face_at(10, 10) is None
    assert (still.drawn("largest") == still.picture).all()


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(MediaError):
        Stills(detector)(tmp_path / "notes.mp4")
