"""Movements of heads and cameras."""

import math
import subprocess
import sys

import numpy as np
import pytest

from latentsync.face.warp import to_3x3
from latentsync.synthetic.motion import Blinks, CameraMotion, Framing, HeadMotion, Wander, ease, plateau, seen_through
from latentsync.synthetic.seeds import derived, stream

FRAMING = Framing(256.0, 240.0, 220.0, 512)
ANGLES = ("yaw", "pitch", "roll")


def poses(motion: HeadMotion, seconds: float, fps: float = 25):
    return [motion.pose((k + 0.5) / fps, FRAMING) for k in range(round(seconds * fps))]


def column(found, name: str) -> np.ndarray:
    return np.array([getattr(pose, name) for pose in found])


def degrees(found) -> np.ndarray:
    return np.degrees(np.stack([column(found, name) for name in ANGLES]))


def test_ramps_end_flat():
    assert [ease(x) for x in (-1, 0, 0.5, 1, 2)] == [0, 0, 0.5, 1, 1]
    assert ease(0.01) < 1e-4 and 1 - ease(0.99) < 1e-4
    assert [plateau(t, (1.0, 2.0), 0.5) for t in (0.5, 1.0, 1.5, 2.0, 2.5)] == [0, 1, 1, 1, 0]


def test_a_wander_keeps_to_its_band_and_deviation():
    times_s = np.arange(0, 400, 0.05)
    wander = Wander(stream(1), (0.1, 0.5))
    values = np.array([wander(t) for t in times_s])
    power = np.abs(np.fft.rfft(values * np.hanning(len(values)))) ** 2
    hertz = np.fft.rfftfreq(len(values), 0.05)
    inside = (hertz > 0.09) & (hertz < 0.52)
    assert values.std() == pytest.approx(1, abs=0.1)
    assert power[inside].sum() > 0.999 * power.sum()


def test_streams_depend_on_their_arguments_alone():
    first = derived(7, "a", 1)
    stream(7, "b").random(100)
    assert derived(7, "a", 1) == first
    assert len({derived(7, "a", 1), derived(7, "a", 2), derived(7, "b", 1), derived(8, "a", 1)}) == 4
    code = "from latentsync.synthetic.seeds import derived; print(derived(7, 'a', 1))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == first


def test_any_frame_rate_and_order_samples_the_same_motion():
    forwards, backwards = HeadMotion(3), HeadMotion(3)
    times_s = [k / 60 for k in range(600)]
    wanted = {t: forwards.pose(t, FRAMING) for t in times_s}
    assert {t: backwards.pose(t, FRAMING) for t in reversed(times_s)} == wanted
    fresh = HeadMotion(3)
    assert all(fresh.pose(k / 30, FRAMING) == wanted[2 * k / 60] for k in range(300))


def test_movements_differ_between_seeds_and_are_those_of_a_speaker():
    spreads, speeds = [], []
    for seed in range(12):
        found = degrees(poses(HeadMotion(seed), 40))
        spreads.append(found.std(axis=1))
        speeds.append(np.abs(np.diff(found, axis=1)).mean(axis=1) * 25)
    yaw, pitch, roll = np.mean(spreads, axis=0)
    assert 3.5 < yaw < 7 and 2 < pitch < 4 and 1.5 < roll < 3.5
    assert np.mean(speeds, axis=0).max() < 10  # degrees per second
    assert len(np.unique(np.round(spreads, 6))) == 36


def test_amplitude_scales_the_sway_but_not_the_eyes():
    calm, lively, still = (poses(HeadMotion(5, amplitude=a), 30) for a in (1, 2.2, 0))
    assert (degrees(lively).std(axis=1) > 1.8 * degrees(calm).std(axis=1)).all()
    assert degrees(still).std(axis=1).max() < 1e-9 and column(still, "x").std() < 1e-9
    assert (column(calm, "blink") == column(lively, "blink")).all()
    huge = degrees(poses(HeadMotion(5, amplitude=10), 30))
    assert np.abs(huge).max(axis=1) == pytest.approx([60, 35, 35], abs=8) and np.abs(huge)[0].max() <= 60


def test_blinks_come_as_often_as_those_of_people_and_close_faster_than_they_open():
    rates, closing, opening = [], [], []
    for seed in range(10):
        blinks = Blinks(stream(seed, "blink"))
        blink = np.array([blinks(t) for t in np.arange(0, 60, 0.005)])
        assert blink.min() == 0 and blink.max() <= 1
        rates.append(((blink[1:] >= 0.4) & (blink[:-1] < 0.4)).sum())
        closing.append((np.diff(blink) > 0).sum())
        opening.append((np.diff(blink) < 0).sum())
    assert 15 < np.mean(rates) < 30 and min(rates) > 8
    assert 1.6 < np.sum(opening) / np.sum(closing) < 2.8


def test_eyes_fixate_and_jump():
    motion = HeadMotion(2, amplitude=0)
    speed = np.degrees(np.abs(np.diff(column(poses(motion, 20, 400), "gaze_x")))) * 400
    assert (speed < 1e-6).mean() > 0.85  # fixations
    assert 50 < speed.max() < 700  # saccades, degrees per second
    assert np.abs(column(poses(motion, 40), "gaze_x")).max() <= math.radians(28)


def test_eyes_keep_their_target_while_the_head_turns():
    found = poses(HeadMotion(4, amplitude=2), 40)
    yaw, gaze = column(found, "yaw"), column(found, "gaze_x")
    assert np.corrcoef(yaw, gaze)[0, 1] < -0.5


def test_brows_and_smiles_stay_in_range():
    found = [pose for seed in range(8) for pose in poses(HeadMotion(seed), 30)]
    brow, smile = column(found, "brow"), column(found, "smile")
    assert brow.min() >= -1 and brow.max() <= 1 and brow.max() > 0.5 and brow.min() < -0.3
    assert smile.min() >= 0 and smile.max() <= 1 and smile.max() > 0.5


def test_stressed_syllables_get_nods():
    beats = tuple(np.arange(1.0, 20.0, 0.8))
    with_nods, without = (column(poses(HeadMotion(1, beats=b), 20), "pitch") for b in (beats, ()))
    nods = np.degrees(without - with_nods)
    assert nods.min() >= -1e-9 and 0.5 < nods.max() < 4
    assert 0 < (nods > 0.3).mean() < 0.6


def test_a_profile_is_reached_within_its_span_and_left_again():
    plain, turned = HeadMotion(6), HeadMotion(6, profile=(2.0, 5.0))
    for time_s in (0.0, 1.99, 5.01, 8.0):
        assert turned.pose(time_s, FRAMING) == plain.pose(time_s, FRAMING)
    yaw = np.degrees([abs(turned.pose(t, FRAMING).yaw) for t in np.arange(2.75, 4.25, 0.1)])
    assert (yaw >= 70).all() and (yaw <= 90).all()
    assert np.abs(np.diff([turned.pose(t, FRAMING).yaw for t in np.arange(0, 8, 0.04)])).max() < math.radians(12)


@pytest.mark.parametrize("x", [100.0, 256.0, 400.0])
def test_a_head_that_is_away_is_out_of_the_picture(x):
    framing = Framing(x, 240.0, 220.0, 512)
    plain, motion = HeadMotion(8), HeadMotion(8, away=[(2.0, 3.0)])
    away = [motion.pose(t, framing) for t in np.arange(2.0, 3.01, 0.1)]
    assert all(pose.x < -2 * 220 or pose.x > 512 + 2 * 220 for pose in away)
    assert x == 256 or all((pose.x > 256) == (x > 256) for pose in away)
    for time_s in (0.5, 1.3, 3.7, 5.0):
        assert motion.pose(time_s, framing) == plain.pose(time_s, framing)


def test_a_still_camera_changes_nothing():
    camera = CameraMotion(1)
    assert camera.still and np.allclose(camera.matrix(3.0, 512, 300), np.eye(2, 3))


def test_a_moving_camera_moves_heads_and_scenery_alike():
    camera = CameraMotion(1, shake=0.01, zoom=0.1)
    matrices = [camera.matrix(t, 512, 300) for t in np.arange(0, 60, 0.04)]
    shifts = np.array([matrix @ (255.5, 149.5, 1) - (255.5, 149.5) for matrix in matrices])
    assert shifts.std(axis=0) == pytest.approx([3, 3], rel=0.3)
    pose = HeadMotion(1).pose(1.0, FRAMING)
    seen = seen_through(pose, matrices[100])
    angle, size = pose.roll, pose.size
    chin = np.array([pose.x - size / 2 * math.sin(angle), pose.y + size / 2 * math.cos(angle)])
    chin_seen = np.array([seen.x - seen.size / 2 * math.sin(seen.roll), seen.y + seen.size / 2 * math.cos(seen.roll)])
    assert (to_3x3(matrices[100]) @ (*chin, 1))[:2] == pytest.approx(chin_seen)
