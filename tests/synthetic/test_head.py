"""Drawn people: truth, determinism, pairs that differ in the mouth alone, and what a face mesh sees of them."""

import copy
import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.face.detect import EYES, MediaPipeDetector
from latentsync.metrics.mouth import lip_gap
from latentsync.synthetic.cage import cage, eye_ring, mouth_ring
from latentsync.synthetic.canvas import Canvas
from latentsync.synthetic.head import TalkingHead
from latentsync.synthetic.pose import FaceTruth, Pose

SEEDS = (0, 1, 2, 3, 4, 5)
SIDE = 256
AHEAD = Pose(128, 122, 140)
SHUT = np.zeros(7)
OPEN = np.array([1, 0.3, 0, 0.3, 0, 0, 0.5])
ROUND = np.array([0.3, -0.8, 1, 0, 0.5, 0, 0])
NOSE_TIP, FOREHEAD, CHIN, LEFT_EYE, RIGHT_EYE = 4, 10, 152, 33, 263
BACKGROUND = np.full((SIDE, SIDE, 3), 110, np.uint8)


@pytest.fixture(scope="module")
def canvas() -> Canvas:
    return Canvas(SIDE, SIDE)


def drawn(canvas: Canvas, head: TalkingHead, mouth: np.ndarray, pose: Pose) -> tuple[np.ndarray, FaceTruth]:
    canvas.clear(BACKGROUND)
    truth = head.draw(canvas, mouth, pose)
    return canvas.picture(), truth


def digest(picture: np.ndarray) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


# Truth


def test_the_truth_is_that_of_the_drawing(head_of, canvas):
    pose = replace(AHEAD, yaw=0.3, roll=-0.2, blink=0.4, smile=0.5)
    told, shown = head_of(0).truth(OPEN, pose), drawn(canvas, head_of(0), OPEN, pose)[1]
    np.testing.assert_array_equal(told.landmarks, shown.landmarks)
    assert (told.lip_gap, told.mouth_width, told.eye_gap) == (shown.lip_gap, shown.mouth_width, shown.eye_gap)
    assert told.landmarks.shape == (468, 2) and told.landmarks.dtype == np.float32


@pytest.mark.parametrize("seed", SEEDS)
def test_the_face_lies_where_the_pose_says(head_of, seed):
    points = head_of(seed).truth(SHUT, AHEAD).landmarks
    assert points[CHIN, 1] - points[FOREHEAD, 1] == pytest.approx(AHEAD.size, rel=0.06)
    assert np.abs(points[[FOREHEAD, CHIN]].mean(axis=0) - (AHEAD.x, AHEAD.y)).max() < 0.05 * AHEAD.size
    assert points.min() > 0 and points.max() < SIDE
    assert points[LEFT_EYE, 0] < points[NOSE_TIP, 0] < points[RIGHT_EYE, 0]


def test_size_and_place_scale_and_shift(head_of):
    small, large = (head_of(0).truth(OPEN, Pose(x, y, s, yaw=0.2)) for x, y, s in ((50, 60, 100), (170, 90, 250)))
    np.testing.assert_allclose((small.landmarks - (50, 60)) * 2.5, large.landmarks - (170, 90), atol=0.01)
    assert large.lip_gap == pytest.approx(2.5 * small.lip_gap, rel=1e-3)


def test_turns_have_their_directions(head_of):
    def at(**turn: float) -> np.ndarray:
        return head_of(0).truth(SHUT, replace(AHEAD, **turn)).landmarks

    ahead, least = at(), 0.05 * AHEAD.size
    assert at(yaw=0.3)[NOSE_TIP, 0] > ahead[NOSE_TIP, 0] + least > at(yaw=-0.3)[NOSE_TIP, 0] + 2 * least
    assert at(pitch=0.3)[NOSE_TIP, 1] < ahead[NOSE_TIP, 1] - least < at(pitch=-0.3)[NOSE_TIP, 1] - 2 * least
    clockwise = at(roll=0.3)
    assert clockwise[RIGHT_EYE, 1] > clockwise[LEFT_EYE, 1] + least
    across = clockwise[RIGHT_EYE] - clockwise[LEFT_EYE]
    level = ahead[RIGHT_EYE] - ahead[LEFT_EYE]
    assert np.arctan2(*across[::-1]) - np.arctan2(*level[::-1]) == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_lips_and_lids_are_told(head_of, seed):
    head = head_of(seed)
    pressed = OPEN.copy()
    pressed[5] = 1
    assert head.truth(SHUT, AHEAD).lip_gap < 1e-3 > head.truth(pressed, AHEAD).lip_gap
    assert head.truth(OPEN, AHEAD).lip_gap > 0.08 * AHEAD.size
    assert head.truth(ROUND, AHEAD).mouth_width < 0.9 * head.truth(SHUT, AHEAD).mouth_width
    shut = head.truth(SHUT, replace(AHEAD, blink=1)).eye_gap
    assert shut < 0.1 * head.truth(SHUT, AHEAD).eye_gap


# Determinism


def test_the_same_seed_is_the_same_person_anywhere(head_of, canvas):
    """Also in a fresh process, and whatever was drawn before."""
    pose = replace(AHEAD, yaw=0.2, gaze_x=0.1)
    for mouth, before in ((ROUND, replace(AHEAD, yaw=-0.5, blink=1, smile=1)), (OPEN, replace(AHEAD, size=230))):
        drawn(canvas, head_of(4), mouth, before)
    here, _ = drawn(canvas, head_of(4), OPEN, pose)
    code = (
        "from tests.synthetic.test_head import *\n"
        f"print(digest(drawn(Canvas(SIDE, SIDE), TalkingHead(4), OPEN, {pose!r})[0]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [digest(here)]


def test_other_heads_and_frames_leave_no_trace(head_of, canvas):
    alone, _ = drawn(Canvas(SIDE, SIDE), head_of(0), SHUT, AHEAD)
    for seed, mouth, pose in ((1, OPEN, replace(AHEAD, yaw=0.5)), (0, OPEN, replace(AHEAD, blink=1, size=260))):
        drawn(canvas, head_of(seed), mouth, pose)
    np.testing.assert_array_equal(drawn(canvas, head_of(0), SHUT, AHEAD)[0], alone)


@pytest.mark.parametrize("seed", SEEDS)
def test_hair_leaves_no_trace_however_near_the_camera(head_of, canvas, seed):
    picture, _ = drawn(canvas, head_of(seed), SHUT, AHEAD)
    y, x = np.argwhere((picture != BACKGROUND).any(axis=2))[0]  # the highest hair
    near = Canvas(SIDE, SIDE, np.array([[25.0, 0, 128 - 25 * x], [0, 25, 128 - 25 * y]]))
    near.clear(BACKGROUND)
    head_of(seed).draw(near, SHUT, AHEAD)
    assert not near.layer.any()


def test_different_seeds_are_different_people(head_of, canvas):
    pictures = [drawn(canvas, head_of(seed), SHUT, AHEAD)[0].astype(int) for seed in SEEDS]
    apart = [np.abs(a - b).mean() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(apart) > 3


def test_the_order_of_hairs_does_not_matter(head_of, canvas):
    head = copy.copy(head_of(0))
    expected, _ = drawn(canvas, head, SHUT, AHEAD)
    shuffled = []
    for strands in head.strands:
        order = np.random.default_rng(0).permutation(len(strands.roots))
        fields = ("roots", "weights", "offsets", "colours", "occlusion", "thickness", "opacity", "blinks")
        changed = {f: getattr(strands, f)[order] for f in fields if getattr(strands, f) is not None}
        shuffled.append(replace(strands, **changed))
    head.strands = shuffled
    apart = np.abs(drawn(canvas, head, SHUT, AHEAD)[0].astype(int) - expected)
    assert (apart > 2).mean() < 1e-3  # hairs at one depth may swap


def test_two_people_share_a_picture(head_of, canvas):
    wide = Canvas(2 * SIDE, SIDE)
    wide.clear(np.tile(BACKGROUND, (1, 2, 1)))
    head_of(0).draw(wide, SHUT, replace(AHEAD, x=120))
    alone = wide.colour.copy()
    head_of(1).draw(wide, SHUT, replace(AHEAD, x=400))
    half = alone.shape[1] // 3
    np.testing.assert_array_equal(wide.colour[:, :half], alone[:, :half])
    assert np.abs(wide.colour[:, -half:] - alone[:, -half:]).max() > 0.1


# Pictures


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("turn", [{}, {"yaw": 0.4, "blink": 0.3}, {"yaw": -0.3, "pitch": 0.1, "smile": 0.5}])
def test_two_mouths_differ_in_the_lower_face_alone(head_of, canvas, seed, turn):
    pose = replace(AHEAD, **turn)
    still, truth = drawn(canvas, head_of(seed), SHUT, pose)
    above = int(truth.landmarks[list(EYES), 1].min())
    for mouth in (OPEN, ROUND):
        moved, _ = drawn(canvas, head_of(seed), mouth, pose)
        apart = np.abs(moved[:above].astype(int) - still[:above])
        assert apart.max() <= 2 and (apart > 0).mean() < 1e-3  # shadows are blurred over a centimetre
        assert np.abs(moved[above:].astype(int) - still[above:]).max() > 20


def test_a_face_covers_its_oval(head_of, canvas):
    canvas.clear(BACKGROUND)
    points = head_of(3).draw(canvas, SHUT, AHEAD).landmarks
    samples = np.round(np.column_stack([points, np.ones(468)]) @ canvas.to_samples.T).astype(int)
    assert (canvas.ids[samples[:, 1], samples[:, 0]] >= 0).mean() > 0.98
    assert (canvas.ids[:, 0] < 0).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_eye_is_a_hole_in_the_head(head_of, canvas, seed):
    for yaw in (-0.6, -0.3, 0, 0.3, 0.6):
        canvas.clear(BACKGROUND)
        truth = head_of(seed).draw(canvas, SHUT, replace(AHEAD, yaw=yaw, gaze_x=0.3 * yaw, blink=abs(yaw) / 2))
        samples = np.column_stack([truth.landmarks, np.ones(468)]) @ canvas.to_samples.T
        for side in (0, 1):
            eye = np.zeros(canvas.ids.shape, np.uint8)
            cv2.fillPoly(eye, [np.round(samples[eye_ring(side, cage().mirror)]).astype(np.int32)], 1)
            assert (canvas.ids[eye > 0] >= 0).all()


@pytest.mark.parametrize("strength", [0.0, 100.0])
def test_no_light_is_too_strong(head_of, canvas, strength):
    head = copy.copy(head_of(0))
    light = head.identity.light.copy()
    light[[1, 3, 4, 5, 7]] *= strength
    head.identity = replace(head.identity, light=light)
    canvas.clear(BACKGROUND)
    head.draw(canvas, OPEN, AHEAD)
    assert np.isfinite(canvas.colour).all() and canvas.colour.min() >= 0 and canvas.colour.max() <= 1


@pytest.mark.parametrize(
    "pose",
    [
        replace(AHEAD, yaw=1.2, pitch=0.5, roll=2.0),
        replace(AHEAD, size=8),
        replace(AHEAD, size=2500),
        replace(AHEAD, x=-900, y=4000),
        replace(AHEAD, blink=1, gaze_x=0.6, gaze_y=-0.6, brow=-1, smile=1),
    ],
)
def test_odd_poses_are_drawn(head_of, canvas, pose):
    _, truth = drawn(canvas, head_of(0), OPEN, pose)
    assert np.isfinite(canvas.colour).all() and np.isfinite(truth.landmarks).all()


# Seen by the face mesh


@pytest.fixture(scope="module")
def observed(head_of):
    """Truth and found landmarks of each seed, lips closed and open: (seeds, 2, 468, 2) each."""
    truths, found = [], []
    canvas = Canvas(SIDE, SIDE)
    with MediaPipeDetector() as detector:
        for seed in SEEDS:
            for mouth in (SHUT, OPEN):
                picture, truth = drawn(canvas, head_of(seed), mouth, AHEAD)
                faces = detector(picture)
                assert len(faces) == 1, f"no face in person {seed}"
                truths.append(truth.landmarks)
                found.append(faces[0].landmarks)
    return tuple(np.reshape(a, (len(SEEDS), 2, 468, 2)) for a in (truths, found))


def test_the_mesh_lies_on_the_truth(observed):
    truth, found = observed
    apart = found - truth
    bias = np.median(apart.reshape(-1, 2), axis=0)
    assert np.abs(bias).max() < 0.02 * AHEAD.size
    errors = np.linalg.norm(apart - bias, axis=-1).mean(axis=-1)
    assert errors.max() < 0.03 * AHEAD.size


def test_closed_lips_are_seen_closed_and_open_lips_open(observed):
    gaps = lip_gap(observed[1].reshape(-1, 468, 2)).reshape(-1, 2) / AHEAD.size
    assert gaps[:, 0].max() < 0.025 and gaps[:, 1].min() > 0.07


@pytest.mark.parametrize(
    "pose", [{"pitch": 0.3}, {"yaw": 0.35, "pitch": -0.3}, {}], ids=["up", "aside and down", "ahead"]
)
def test_no_open_mouth_is_a_hole_in_the_head(head_of, pose):
    head, canvas = head_of(4), Canvas(256, 256)
    canvas.clear(np.zeros((256, 256, 3), np.uint8))
    truth = head.draw(canvas, np.array([1, 0.6, 0, 0.8, 0, 0, 0]), Pose(128, 90, 240, **pose))
    samples = canvas.to_samples
    lips = truth.landmarks[mouth_ring()] @ samples[:, :2].T + samples[:, 2]
    mouth = np.zeros(canvas.ids.shape, np.uint8)
    cv2.fillPoly(mouth, [np.round(lips).astype(np.int32)], 1)
    assert mouth.sum() > 500
    assert (canvas.ids[mouth > 0] >= 0).all()
