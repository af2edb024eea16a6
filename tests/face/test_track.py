"""Which face is followed, and how its points run over time."""

import math
import weakref
from dataclasses import dataclass, field
from fractions import Fraction

import cv2
import numpy as np
import pytest

from latentsync import REPO_ROOT
from latentsync.errors import ConfigError
from latentsync.face.detect import FaceBox, MediaPipeDetector
from latentsync.face.track import RADIUS_S, CutDetector, FaceChoice, parse_face, smoothed, track_faces

from .conftest import smooth_frame

RATE = Fraction(25)
REACH = 10  # frames in 0.4 s
SHAPE = np.array([(-0.3, -0.3), (0.3, -0.3), (0.0, 0.1), (-0.4, 0.5), (0.4, 0.5)])  # brows, nose, jaw


@dataclass
class Person:
    """A face with its centre and side in pixels; a detector may miss it, the landmarks may too."""

    x: float
    y: float = 100.0
    side: float = 100.0
    seen: str = "yes"  # "again": by the second look only; "mesh": by the landmarks only; "no"
    noise: np.ndarray | float = 0.0

    @property
    def box(self) -> np.ndarray:
        half = self.side / 2
        return np.array([self.x - half, self.y - half, self.x + half, self.y + half], np.float32)


@dataclass
class Scene:
    """Stands in for a detector: finds the people of the frame whose number is written in its first pixel."""

    people: list[list[Person]]
    meshes: int = 0
    looks: list[tuple[int, bool]] = field(default_factory=list)

    def boxes(self, frame, *, again=False):
        index = int(frame[0, 0, 0])
        self.looks.append((index, again))
        seen = [p for p in self.people[index] if p.seen == "yes" or (again and p.seen == "again")]
        return [FaceBox(p.box, 0.9) for p in sorted(seen, key=lambda p: -p.side)]

    def landmarks(self, frame, box):
        self.meshes += 1
        centre, side = (box[:2] + box[2:]) / 2, box[2] - box[0]
        near = [
            (abs(p.x - centre[0]) + abs(p.y - centre[1]), p)
            for p in self.people[int(frame[0, 0, 0])]
            if p.seen != "no" and max(abs(p.x - centre[0]), abs(p.y - centre[1])) < side
        ]
        if not near:
            return None
        person = min(near, key=lambda pair: pair[0])[1]
        return (person.side * SHAPE + (person.x, person.y) + person.noise).astype(np.float32)

    def accepts(self, found):
        return found.box[2] - found.box[0] >= 20

    @staticmethod
    def alignment_points(landmarks):
        return landmarks[:3]


def numbered(n: int, picture=lambda i: np.zeros((40, 40, 3), np.uint8)):
    for i in range(n):
        frame = picture(i).copy()
        frame[0, 0] = i
        yield frame


def track(people, picture=None, **options):
    scene = Scene(people)
    frames = numbered(len(people), picture) if picture else numbered(len(people))
    return list(track_faces(frames, scene, rate=RATE, **options)), scene


def tracks(faces) -> list[int | None]:
    return [face.track for face in faces]


def x_of(face) -> float:
    """Where the face's centre is."""
    return float(face.landmarks[:2, 0].mean())


def test_choices_are_read():
    assert parse_face("largest") == parse_face(" Largest ") == FaceChoice()
    assert parse_face("0") == FaceChoice(index=0) and parse_face("12") == FaceChoice(index=12)
    assert parse_face("320,180.5") == parse_face(" 320 , 180.5 ") == FaceChoice(point=(320.0, 180.5))


@pytest.mark.parametrize("text", ["", "left", "-1", "1.5", "1,2,3", "1,", "nan,1", "1;2"])
def test_a_bad_choice_is_an_error_with_the_remedy(text):
    with pytest.raises(ConfigError, match=r"expected .largest.*got .*; correct it"):
        parse_face(text)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("options", [{}, {"smooth": False}, {"bridge": False}, {"smooth": False, "bridge": False}])
def test_one_output_per_frame(n, options):
    faces, _ = track([[Person(100 + i)] for i in range(n)], **options)
    assert [face.index for face in faces] == [int(face.frame[0, 0, 0]) for face in faces] == list(range(n))
    assert tracks(faces) == [0] * n


@pytest.mark.parametrize(("rate", "ahead"), [(RATE, 10), (Fraction(30000, 1001), 11), (Fraction(2), 0)])
def test_the_look_ahead_is_bounded(rate, ahead):
    pulled = 0

    def counted():
        nonlocal pulled
        for frame in numbered(60):
            pulled += 1
            yield frame

    scene = [[Person(100)] if i % 20 < 15 else [] for i in range(60)]
    for face in track_faces(counted(), Scene(scene), rate=rate):
        assert pulled - 1 <= face.index + (ahead if face.index % 20 >= 5 else math.floor(RADIUS_S * float(rate)))
    pulled = 0
    next(track_faces(counted(), Scene([[Person(100)]] * 60), rate=rate, smooth=False, bridge=False))
    assert pulled == 1


def test_frames_that_are_out_are_not_held():
    seen = []

    def watched():
        for frame in numbered(40):
            seen.append(weakref.ref(frame))
            yield frame
            del frame

    for face in track_faces(watched(), Scene([[Person(100)]] * 40), rate=RATE):
        del face
        assert sum(ref() is not None for ref in seen) <= REACH + 1


def test_two_people_of_similar_size_never_alternate():
    rng = np.random.default_rng(0)
    sizes = 100 + 8 * rng.standard_normal((80, 2))
    faces, scene = track([[Person(100, side=a), Person(300, side=b)] for a, b in sizes])
    chosen = 100 if sizes[0, 0] > sizes[0, 1] else 300
    assert {round(x_of(face)) for face in faces} == {chosen}
    assert tracks(faces) == [0] * 80
    assert scene.meshes == 80, "only the chosen face is meshed"


def test_two_people_who_cross_keep_their_names():
    faces, _ = track([[Person(100 + 5 * i, 100, 100), Person(400 - 5 * i, 150, 90 + i)] for i in range(60)])
    np.testing.assert_allclose([x_of(face) for face in faces], [100 + 5 * i for i in range(60)], atol=0.01)


def test_a_person_hidden_by_another_is_not_taken_for_them():
    def people(i):
        walker = Person(400 - 10 * i, 100, 110)
        return [Person(100, seen="no" if 20 <= i < 40 else "yes"), walker]

    faces, _ = track([people(i) for i in range(60)], choice=FaceChoice(index=0), bridge=False)
    assert tracks(faces) == [0] * 20 + [None] * 20 + [1] * 20
    assert all(round(x_of(face)) == 100 for face in faces if face.track is not None)


def test_a_person_may_walk_where_another_stood():
    faces, _ = track([[Person(100 + 5 * i)] + [Person(300)] * (i < 12) for i in range(50)], choice=FaceChoice(index=0))
    assert tracks(faces) == [0] * 50
    np.testing.assert_allclose([x_of(face) for face in faces], [100 + 5 * i for i in range(50)], atol=0.01)


def test_landmarks_of_a_neighbour_do_not_count():
    """A box is doubled for the landmarks, so they may find the face beside it."""

    class Nearsighted(Scene):
        def landmarks(self, frame, box):
            return super().landmarks(frame, box + np.float32([60, 0, 60, 0]))

    people = [[Person(100, side=100), Person(170, side=60)]] * 3
    assert tracks(track_faces(numbered(3), Nearsighted(people), rate=RATE)) == [None] * 3


def test_index_counts_from_the_left():
    people = [[Person(300, side=120), Person(100, side=60), Person(500, side=90)]] * 5
    for index, x in enumerate((100, 300, 500)):
        faces, _ = track(people, choice=FaceChoice(index=index))
        assert [round(x_of(face)) for face in faces] == [x] * 5


def test_an_index_that_is_missing_passes_until_it_appears():
    people = [[Person(100)]] * 4 + [[Person(100), Person(300)]] * 4 + [[Person(300)]] * 4
    faces, _ = track(people, choice=FaceChoice(index=1))
    assert tracks(faces) == [None] * 4 + [0] * 8
    assert all(round(x_of(face)) == 300 for face in faces[4:])
    assert all(face.landmarks is None and face.points is None for face in faces[:4])


def test_a_person_whom_only_the_second_look_sees_counts():
    people = [[Person(100, seen="again"), Person(300)]] * 5
    for index, x in enumerate((100, 300)):
        faces, scene = track(people, choice=FaceChoice(index=index))
        assert [round(x_of(face)) for face in faces] == [x] * 5
        assert scene.meshes == 5


def test_boxes_of_the_two_looks_are_not_compared_by_size():
    """Landmarks are: the second look's boxes may be half as large again."""

    class Generous(Scene):
        def boxes(self, frame, *, again=False):
            found = super().boxes(frame, again=again)
            grown = [FaceBox(face.box + np.float32([-25, -25, 25, 25]), face.score) for face in found]
            return grown if again else found

    people = [[Person(100, side=100), Person(300, side=80, seen="again")]] * 3
    faces = list(track_faces(numbered(3), Generous(people), rate=RATE))
    assert [round(x_of(face)) for face in faces] == [100] * 3


def test_the_second_looks_box_counts_where_the_first_ones_yields_no_landmarks():
    class Picky(Scene):
        def boxes(self, frame, *, again=False):
            found = super().boxes(frame, again=again)
            return found if again else [FaceBox(face.box + np.float32([0, 0, 30, 30]), 0.9) for face in found]

        def landmarks(self, frame, box):
            return super().landmarks(frame, box) if box[2] - box[0] == 100 else None

    assert tracks(track_faces(numbered(3), Picky([[Person(100)]] * 3), rate=RATE)) == [0] * 3


def test_a_point_chooses_the_face_it_lies_on():
    people = [[Person(100, side=120), Person(300, side=60)]] * 3
    for point, x in (((290, 110), 300), ((80, 60), 100)):
        faces, _ = track(people, choice=FaceChoice(point=point))
        assert [round(x_of(face)) for face in faces] == [x] * 3
    assert tracks(track(people, choice=FaceChoice(point=(600, 400)))[0]) == [None] * 3


def test_small_boxes_are_not_accepted():
    assert tracks(track([[Person(100, side=15)]] * 3)[0]) == [None] * 3


def test_a_cut_ends_the_track_and_the_choice_is_made_anew():
    people = [[Person(100, side=120), Person(300, side=60)]] * 12 + [[Person(100, side=60), Person(300, side=120)]] * 12
    faces, _ = track(people, lambda i: smooth_frame(90, 160, seed=int(i >= 12)))
    assert tracks(faces) == [0] * 12 + [1] * 12
    assert [round(x_of(face)) for face in faces] == [100] * 12 + [300] * 12
    assert [round(x_of(face)) for face in track(people)[0]] == [100] * 24, "without the cut"


def test_nothing_is_bridged_or_smoothed_over_a_cut():
    people = [[Person(100)]] * 8 + [[Person(100, seen="no")]] * 2 + [[Person(120)]] * 8
    faces, _ = track(people, lambda i: smooth_frame(90, 160, seed=int(i >= 9)))
    assert tracks(faces) == [0] * 8 + [None] * 2 + [1] * 8
    for face in faces:
        if face.track is not None:
            np.testing.assert_allclose(face.points, face.landmarks[:3], atol=1e-3)


def test_a_lone_face_that_jumps_begins_another_track():
    faces, _ = track([[Person(100)]] * 10 + [[Person(400)]] * 10)
    assert tracks(faces) == [0] * 10 + [1] * 10
    np.testing.assert_allclose(faces[9].points, faces[9].landmarks[:3], atol=1e-3)


def cuts(*frames) -> list[bool]:
    detector = CutDetector()
    return [detector(frame) for frame in frames]


def test_cuts_and_what_is_none():
    one, other = smooth_frame(180, 320, seed=1), smooth_frame(180, 320, seed=2)
    flash = (one * 1.6 + 40.0).clip(0, 255).astype(np.uint8)
    white, black = np.full_like(one, 255), np.zeros_like(one)
    shifted = np.roll(one, 12, axis=1)
    assert cuts(one, other, other, one) == [False, True, False, True]
    assert not any(cuts(one, shifted, one, flash, one, white, one, black, one // 2, one))
    assert cuts(one, black, other) == [False, False, True]


@pytest.mark.parametrize("seen", ["again", "mesh"])
def test_a_face_missed_by_the_first_look_is_rescued(seen):
    """By the second look, or by landmarks where it was; though another face is found."""
    people = [[Person(100 + 3 * i, seen=seen if 4 <= i < 9 else "yes"), Person(400, side=90)] for i in range(12)]
    faces, scene = track(people, smooth=False, bridge=False)
    assert tracks(faces) == [0] * 12
    np.testing.assert_allclose([x_of(face) for face in faces], [100 + 3 * i for i in range(12)], atol=0.01)
    assert {index for index, again in scene.looks if again} == {0, *range(4, 9)}


def test_a_face_is_not_looked_for_where_it_was_for_ever():
    scene = track([[Person(100)]] + [[]] * 40)[1]
    assert scene.meshes == 1 + REACH


@pytest.mark.parametrize("length", [1, 3, REACH])
def test_a_gap_is_bridged_by_a_straight_line(length):
    people = [
        [Person(100 + 2 * i, side=100 + i, seen="no" if 5 <= i < 5 + length else "yes")] for i in range(length + 12)
    ]
    faces, _ = track(people)
    assert tracks(faces) == [0] * (length + 12)
    for face, (person,) in zip(faces, people, strict=True):
        expected = person.side * SHAPE + (person.x, person.y)
        np.testing.assert_allclose(face.landmarks, expected, atol=1e-3)
        np.testing.assert_allclose(face.points, expected[:3], atol=1e-3)
        assert face.landmarks.dtype == face.points.dtype == np.float32


def test_a_longer_gap_passes_through_and_the_person_returns():
    people = [[Person(100, seen="no" if 5 <= i < 6 + REACH else "yes"), Person(300, side=90)] for i in range(30)]
    faces, _ = track(people)
    assert tracks(faces) == [0] * 5 + [None] * (REACH + 1) + [1] * (30 - 6 - REACH)
    assert round(x_of(faces[-1])) == 100


def test_a_gap_at_either_end_passes_through():
    people = [[]] * 3 + [[Person(100)]] * 5 + [[]] * 3
    assert tracks(track(people)[0]) == [None] * 3 + [0] * 5 + [None] * 3


def test_without_bridging_gaps_stay():
    people = [[Person(100, seen="no" if i == 5 else "yes")] for i in range(10)]
    assert tracks(track(people, bridge=False)[0]) == [0] * 5 + [None] + [1] * 4


def test_the_public_rule_takes_the_largest_of_each_frame_as_it_is():
    sizes = [(100, 90), (90, 100), (100, 90)]
    faces, _ = track(
        [[Person(100, side=a), Person(300, side=b)] for a, b in sizes], smooth=False, bridge=False, hold=False
    )
    assert [round(x_of(face)) for face in faces] == [100, 300, 100]
    assert all((face.points == face.landmarks[:3]).all() for face in faces)


def jitter(points: np.ndarray) -> float:
    """Root mean square of the second differences of (n, 3, 2) points."""
    return float(np.sqrt((np.diff(points, 2, axis=0) ** 2).sum(axis=-1).mean()))


def lag(before: np.ndarray, after: np.ndarray, reach: int = 5) -> float:
    """Frames by which the motion of `after` follows that of `before`: the peak of their correlation."""
    a, b = (np.diff(points, axis=0).reshape(len(points) - 1, -1) for points in (before, after))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    shifts, n = range(-reach, reach + 1), len(a)
    c = [float((a[reach : n - reach] * b[reach + s : n - reach + s]).sum()) for s in shifts]
    k = int(np.argmax(c))
    assert 0 < k < 2 * reach
    return k - reach + (c[k - 1] - c[k + 1]) / (2 * (c[k - 1] - 2 * c[k] + c[k + 1]))


def test_smoothing_halves_noise_and_does_not_lag():
    t = np.arange(150)
    path = 200 + 30 * np.sin(2 * np.pi * t / 40)  # a nod of 1.6 s
    noise = np.random.default_rng(0).standard_normal((150, *SHAPE.shape))
    people = [[Person(x, noise=e)] for x, e in zip(path, noise, strict=True)]
    faces, _ = track(people)
    raw, smooth = np.stack([f.landmarks[:3] for f in faces]), np.stack([f.points for f in faces])
    true = 100 * SHAPE[:3] + np.stack([path, np.full(150, 100)], axis=-1)[:, None]
    assert jitter(smooth) < 0.5 * jitter(raw)
    assert abs(lag(true, smooth)) < 0.05
    assert np.abs(smooth - true).std() < 0.8 * np.abs(raw - true).std()
    assert [round(x_of(f), 3) for f in faces] == [round(float(r[:2, 0].mean()), 3) for r in raw], "landmarks stay raw"


@pytest.mark.parametrize("times", [range(-4, 5), range(0, 5), range(-4, 1), (-4, -1, 0, 3), (0,), (-1, 0)])
def test_steady_motion_is_not_changed(times):
    """A parabola where there are enough frames; at the ends of a track and around gaps too."""
    degree = min(len(times), 3) - 1

    def points(t):
        return np.full((3, 2), 5.0 + 3.0 * t * (degree > 0) - 0.7 * t**2 * (degree > 1))

    np.testing.assert_allclose(smoothed({t: points(t) for t in times}, 1.5), points(0), atol=1e-4)


@pytest.fixture(scope="module")
def detector():
    with MediaPipeDetector() as detector:
        yield detector


def pictures(path, start: int, stop: int) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, start)
    frames = [capture.read()[1][:, :, ::-1] for _ in range(start, stop)]
    capture.release()
    return frames


@pytest.mark.media
@pytest.mark.parametrize(
    ("name", "start"), [("demo1_video.mp4", 100), ("demo2_video.mp4", 390), ("sun.mp4", 200)], ids=lambda v: str(v)
)
def test_real_faces_run_smoothly(detector, footage, name, start):
    faces = list(track_faces(pictures(footage(name), start, start + 60), detector, rate=RATE))
    assert tracks(faces) == [0] * 60
    raw = np.stack([detector.alignment_points(f.landmarks) for f in faces]).astype(np.float64)
    smooth = np.stack([f.points for f in faces]).astype(np.float64)
    height = np.mean([np.ptp(f.landmarks[:, 1]) for f in faces])
    assert jitter(smooth) <= 0.5 * jitter(raw)
    assert abs(lag(raw, smooth)) < 0.5
    assert np.linalg.norm(smooth - raw, axis=-1).max() < 0.05 * height


def test_two_shots_of_a_drawn_face_are_two_tracks(detector):
    """A punch-in of the same face is a cut too."""
    frames = pictures(REPO_ROOT / "assets/demo1_video.mp4", 0, 6)
    height, width = frames[0].shape[:2]
    inner = slice(height // 8, height - height // 8), slice(width // 8, width - width // 8)
    closer = [cv2.resize(np.ascontiguousarray(f[inner]), (width, height)) for f in frames]
    assert tracks(track_faces([*frames, *closer], detector, rate=RATE)) == [0] * 6 + [1] * 6


@dataclass
class Counted:
    """Passes on to a detector and counts what it finds."""

    detector: MediaPipeDetector
    meshes: int = 0

    def __getattr__(self, name):
        return getattr(self.detector, name)

    def landmarks(self, frame, box):
        self.meshes += 1
        return self.detector.landmarks(frame, box)


@pytest.mark.parametrize(("choice", "side"), [("0", -1), ("1", 1)])
def test_of_two_drawn_people_one_is_meshed(detector, choice, side):
    frames = [np.hstack([f, f[:, ::-1]]) for f in pictures(REPO_ROOT / "assets/demo1_video.mp4", 0, 4)]
    counted = Counted(detector)
    faces = list(track_faces(frames, counted, choice=parse_face(choice), rate=RATE))
    assert tracks(faces) == [0] * 4 and counted.meshes == 4
    assert all(side * (x_of(face) - frames[0].shape[1] / 2) > 0 for face in faces)
