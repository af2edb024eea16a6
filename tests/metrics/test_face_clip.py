"""Which frames and which part of them the Fréchet video distance sees."""

import numpy as np
import pytest

from latentsync.errors import MeasureError, NoFaceError
from latentsync.face.detect import FaceBox, MediaPipeDetector
from latentsync.metrics.face_clip import FaceClipOptions, face_clip
from scripts.inference import DEMO_VIDEO

from ..command import SIDE, stamp, stamped, write_clip


class Detector:
    """Sees the whole picture of 256 x 256, but no face in frames with certain numbers."""

    def __init__(self, *blind: int) -> None:
        self.blind = blind

    def boxes(self, frame, *, again=False):
        assert again
        whole = FaceBox(np.array([-30, -0.5, 255.5, 300], np.float32), 0.8)
        part = FaceBox(np.array([-0.5, -0.5, 127.5, 127.5], np.float32), 0.6)
        return [] if stamped(frame) in self.blind else [part, whole]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    def make(n):
        path = folder / f"{n}.mp4"
        if not path.exists():
            frames = np.full((n, SIDE, SIDE, 3), 128, np.uint8)
            for i, frame in enumerate(frames):
                stamp(frame, i)
            write_clip(path, frames)
        return path

    folder = tmp_path_factory.mktemp("clips")
    return make


def numbers(path, detector, **options) -> list[int]:
    return [stamped(frame) for frame in face_clip(path, detector, FaceClipOptions(**options))]


def test_the_face_of_a_real_detector_fills_the_clip():
    with MediaPipeDetector() as detector:
        clip = face_clip(DEMO_VIDEO, detector)
        assert clip.shape == (16, 224, 224, 3) and clip.dtype == np.uint8
        ((x0, y0, x1, y1),) = (face.box for face in detector.boxes(clip[8], again=True))
        assert x0 < 40 and y0 < 40 and x1 > 184 and y1 > 184
        assert np.array_equal(clip, face_clip(DEMO_VIDEO, detector, FaceClipOptions.reference()))


def test_sixteen_frames_from_the_first_on(video):
    assert numbers(video(32), Detector(), first=4) == list(range(4, 20))
    assert numbers(video(32), Detector(), first=10, n_frames=10) == list(range(10, 20))


def test_of_a_short_video_the_last_frames(video):
    assert numbers(video(32), Detector()) == list(range(16, 32))
    assert numbers(video(16), Detector()) == list(range(16))
    with pytest.raises(MeasureError, match=r"32\.mp4: expected 36 frames or more, got 32; use a longer video"):
        face_clip(video(32), Detector(), FaceClipOptions.reference())
    with pytest.raises(MeasureError, match=r"15\.mp4: expected 16 frames or more, got 15; use a longer video"):
        face_clip(video(15), Detector())


def test_a_frame_without_a_face_takes_the_nearest_box(video):
    """A frame keeps its picture; only the box is another's."""
    moving = Detector(5, 6, 16)
    moving.boxes, every = lambda frame, again: every(frame, again=again)[: 1 + (stamped(frame) > 6)], moving.boxes
    clip = face_clip(video(32), Detector(5, 6, 16), FaceClipOptions(first=1))
    assert [stamped(frame) for frame in clip] == list(range(1, 17))
    clip = face_clip(video(32), moving, FaceClipOptions(first=1))
    whole = face_clip(video(32), Detector(), FaceClipOptions(first=1))
    assert [np.array_equal(*pair) for pair in zip(clip, whole, strict=True)] == [n > 5 for n in range(1, 17)]


def test_a_video_without_a_face_is_named(video):
    with pytest.raises(NoFaceError, match=r"32\.mp4: expected a face in one frame of 16, got 0 frames with one; use"):
        face_clip(video(32), Detector(*range(32)))
    strict = FaceClipOptions(first=1, borrow_boxes=False)
    with pytest.raises(NoFaceError, match=r"expected a face in every frame of 16, got 15 frames with one; use"):
        face_clip(video(32), Detector(7), strict)
