"""Measures of drawn people, on meshes and signals whose faults are known."""

import numpy as np
import pytest

from latentsync.face.detect import LEFT_BROW, NOSE, RIGHT_BROW
from latentsync.metrics.curves import best_lag, correlation
from latentsync.metrics.mouth import INNER_LIPS, lip_gap
from latentsync.synthetic.fidelity import (
    REFERENCE_SIZE,
    STEP_S,
    Observed,
    constant_bias,
    expected_loudness,
    fidelity,
    measured_loudness,
    offsets,
    sound_lag,
    spread,
)
from latentsync.synthetic.speech import Phoneme

RATE = 16000


def turned(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Points (f, n, 2) turned clockwise in the picture by (f,) radians."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


def observed(
    identity: int, rng: np.random.Generator, *, bias: float = 0.01, jitter: float = 0.0, n_frames: int = 40
) -> Observed:
    """A face whose points are found `bias` face heights below their places, in the face's own axes."""
    size, roll = rng.uniform(80, 300, n_frames), rng.uniform(-0.6, 0.6, n_frames)
    rest = rng.uniform(-0.5, 0.5, (468, 2))
    gap = 0.05 * rng.random(n_frames)
    own = np.repeat(rest[None], n_frames, axis=0)
    own[:, (33, 263)] = (-0.2, -0.1), (0.2, -0.1)
    for upper, lower in INNER_LIPS:
        own[:, upper], own[:, lower] = (0, 0.3), np.stack([0 * gap, 0.3 + gap], axis=1)
    found = own + np.array((0.0, bias)) + rng.normal(0, jitter, own.shape)
    truth, measured = (turned(points, roll) * size[:, None, None] + 100 for points in (own, found))
    return Observed(identity, n_frames, truth, measured, gap * size, size, roll)


def test_the_gap_is_along_the_face():
    one = observed(0, np.random.default_rng(0))
    np.testing.assert_allclose(lip_gap(one.truth), one.gap, atol=1e-6)


def test_offsets_are_in_the_axes_and_heights_of_the_face():
    one = observed(0, np.random.default_rng(1), bias=0.02)
    found = offsets(one.truth, one.measured, one.size, one.roll)
    np.testing.assert_allclose(found, np.broadcast_to((0.0, 0.02), found.shape), atol=1e-9)


def test_one_constant_serves_all_clips_and_no_clip_counts_more():
    long, short = np.full((90, 2, 2), 0.5), np.full((3, 2, 2), 0.1)
    assert constant_bias([long, short, short]) == pytest.approx(0.1)


def test_spread_is_in_pixels_of_the_reference():
    clip = np.zeros((10, 3, 2))
    clip[:, 1, 0] = 1 / REFERENCE_SIZE
    assert spread(clip, np.zeros((3, 2))) == pytest.approx([0, 1, 0])


def test_what_is_seen_perfectly_passes_every_bar():
    rng = np.random.default_rng(2)
    result = fidelity([observed(i, rng) for i in range(4)])
    assert result.detected == 1 and not result.misses()
    assert min(result.gap_correlation.values()) > 0.999
    np.testing.assert_allclose(result.bias, np.broadcast_to((0, 0.01), (468, 2)), atol=1e-9)
    np.testing.assert_allclose(result.alignment_bias, np.broadcast_to((0, 0.01), (3, 2)), atol=1e-9)
    assert max(result.spreads.values()) < 1e-6


def test_an_identity_that_is_seen_elsewhere_shows_in_its_spread():
    rng = np.random.default_rng(3)
    result = fidelity([observed(i, rng, bias=0.05 if i == 7 else 0.01) for i in (5, 6, 7)])
    assert result.spreads[7] == pytest.approx(0.04 * REFERENCE_SIZE, rel=1e-3) and result.spreads[5] < 1e-6
    assert result.alignment_spreads[7] == pytest.approx(0.04 * REFERENCE_SIZE, rel=1e-3)
    assert any("spread" in miss for miss in result.misses())


def test_frames_without_a_face_are_counted():
    one = observed(0, np.random.default_rng(4))
    half = Observed(0, 80, one.truth, one.measured, one.gap, one.size, one.roll)
    assert fidelity([half]).detected == 0.5
    assert any("found" in miss for miss in fidelity([half]).misses())


def test_nothing_found_at_all_is_an_error():
    none = np.zeros((0, 468, 2))
    with pytest.raises(ValueError, match="found none"):
        fidelity([Observed(0, 9, none, none, *np.zeros((3, 0)))])


def test_resting_lips_do_not_count():
    rng = np.random.default_rng(9)
    talking, resting = observed(1, rng), observed(2, rng)
    resting = Observed(2, 40, resting.truth, resting.measured, 0 * resting.gap, resting.size, resting.roll)
    result = fidelity([talking, resting])
    assert set(result.gap_correlation) == {1} and set(result.spreads) == {1, 2}
    with pytest.raises(ValueError, match="lips that move"):
        fidelity([resting])


def test_alignment_points_are_means_of_the_mesh():
    one = observed(0, np.random.default_rng(5))
    moved = one.measured.copy()
    moved[:, list(NOSE)] += turned(np.full((40, 1, 2), (0.03, 0.0)), one.roll) * one.size[:, None, None]
    result = fidelity([Observed(0, 40, one.truth, moved, one.gap, one.size, one.roll)])
    assert result.alignment_bias[2] == pytest.approx((0.03, 0.01))
    assert len({*LEFT_BROW, *RIGHT_BROW} & set(NOSE)) == 0


@pytest.mark.parametrize("lag", [-7, -1, 0, 3, 10])
def test_a_lag_is_found_with_its_sign(lag):
    signal = np.random.default_rng(6).standard_normal(120)
    found = best_lag(signal, np.roll(signal, lag))
    assert found.steps == lag and found.exact == pytest.approx(lag, abs=0.2)


def test_a_lag_between_steps_is_found():
    times = np.arange(100) / 10
    found = best_lag(np.sin(times) + np.sin(2.3 * times), np.sin(times - 0.04) + np.sin(2.3 * (times - 0.04)))
    assert found.exact == pytest.approx(0.4, abs=0.05)


def test_unknown_values_do_not_disturb_a_lag():
    signal = np.random.default_rng(7).standard_normal(80)
    late = np.roll(signal, 2)
    late[30:40] = np.nan
    assert best_lag(signal, late).steps == 2


def test_constants_have_no_lag():
    assert np.isnan(correlation(np.ones(9), np.arange(9.0)))
    with pytest.raises(ValueError, match="varies"):
        best_lag(np.ones(30), np.arange(30.0))
    with pytest.raises(ValueError, match="equal lengths"):
        best_lag(np.ones(30), np.ones(31))


def spoken() -> tuple[list[Phoneme], np.ndarray]:
    """Syllables of irregular length with a closure before each vowel, and noise as loud as they should be."""
    rng, phonemes, time_s = np.random.default_rng(8), [], 0.2
    while time_s < 3.5:
        for symbol, length_s in (("p", rng.uniform(0.06, 0.15)), ("a", rng.uniform(0.1, 0.35))):
            phonemes.append(Phoneme(symbol, time_s, time_s + length_s))
            time_s += length_s
    times_s = np.arange(4 * RATE) / RATE
    loud = np.zeros(len(times_s))
    for phoneme in phonemes:
        if phoneme.symbol == "a":
            loud[(times_s >= phoneme.start_s) & (times_s < phoneme.end_s)] = 0.3
    return phonemes, loud * rng.standard_normal(len(loud))


def test_vowels_are_expected_louder_than_stops_and_stops_than_silence():
    phonemes = [Phoneme("_", 0, 1), Phoneme("t", 1, 2), Phoneme("m", 2, 3), Phoneme("ai", 3, 4)]
    levels = expected_loudness(phonemes, np.array([0.5, 1.5, 2.5, 3.5, 4.5]))
    assert levels[0] == levels[4] == 0 < levels[1] < levels[2] < levels[3] == 1


def test_loudness_is_relative_to_the_loudest():
    samples = np.concatenate([np.full(RATE, 0.5), np.full(RATE, 0.05), np.zeros(RATE)])
    assert measured_loudness(samples, RATE, np.array([0.5, 1.5, 2.5]), 0.02) == pytest.approx([1, 0.5, 0])


@pytest.mark.parametrize("late_s", [-0.12, 0.0, 0.08])
def test_late_sound_is_found_to_within_half_a_frame(late_s):
    phonemes, samples = spoken()
    found = sound_lag(phonemes, np.roll(samples, round(late_s * RATE)), RATE, reach_s=0.4)
    assert found.exact * STEP_S == pytest.approx(late_s, abs=0.012)
    assert found.correlation > 0.8
