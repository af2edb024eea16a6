"""Whose lips were changed, on pictures of two squares."""

from pathlib import Path

import numpy as np
import pytest

from eval import edited
from eval.edited import edited_face
from latentsync.face.detect import FaceBox
from latentsync.face.track import FaceChoice

LEFT, RIGHT = (10, 10, 50, 50), (60, 20, 90, 50)


class Squares:
    """A detector that finds the faces which it is told of."""

    def __init__(self, *boxes: tuple[int, int, int, int]) -> None:
        self._boxes = boxes

    def boxes(self, frame: np.ndarray) -> list[FaceBox]:
        return [FaceBox(np.array(box, np.float32), 0.9) for box in self._boxes]

    def accepts(self, found: FaceBox) -> bool:
        return True


@pytest.fixture
def videos(monkeypatch):
    """Frames by path, encoded a bit differently."""
    rng = np.random.default_rng(0)
    source = rng.integers(50, 200, (30, 60, 100, 3), dtype=np.uint8)
    result = source + rng.integers(0, 3, source.shape, dtype=np.uint8)
    frames = {"s": source, "r": result}
    monkeypatch.setattr(edited, "decode_frames", lambda path, rate: (frame for frame in frames[path.name]))
    return source, result


@pytest.mark.parametrize(("changed", "expected"), [(LEFT, (30, 30)), (RIGHT, (75, 35))])
def test_the_face_whose_lower_half_was_changed(videos, changed, expected):
    _, result = videos
    x0, y0, x1, y1 = changed
    result[:, (y0 + y1) // 2 : y1, x0:x1] = 128
    for boxes in ((LEFT, RIGHT), (RIGHT, LEFT)):
        assert edited_face(Path("r"), Path("s"), Squares(*boxes)) == FaceChoice(point=expected)


def test_what_changes_elsewhere_says_nothing(videos):
    _, result = videos
    result[:, :25] = 0  # foreheads
    result[:, 40:50, 65:85] = 128  # the right mouth
    assert edited_face(Path("r"), Path("s"), Squares(LEFT, RIGHT)).point == (75, 35)


def test_somebody_who_comes_later_counts(videos):
    class Late(Squares):
        def boxes(self, frame):
            found = super().boxes(frame)
            self._seen = getattr(self, "_seen", 0) + 1
            return found if self._seen > 2 else found[:1]

    _, result = videos
    result[:, 35:50, 60:90] = 128
    assert edited_face(Path("r"), Path("s"), Late(LEFT, RIGHT)).point == (75, 35)


@pytest.mark.parametrize("boxes", [(), (LEFT,)])
def test_one_face_needs_no_choice(videos, boxes):
    assert edited_face(Path("r"), Path("s"), Squares(*boxes)) == FaceChoice()
