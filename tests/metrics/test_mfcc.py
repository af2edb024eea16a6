"""Properties of the MFCCs; their numbers are in test_golden.py."""

import numpy as np
import pytest

from latentsync.metrics import mfcc as module
from latentsync.metrics.mfcc import filter_bank, mfcc


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-9000, 9000, n).astype(np.int16)


@pytest.mark.parametrize(("samples", "rows"), [(1, 1), (400, 1), (401, 2), (560, 2), (16000, 99)])
def test_a_row_every_ten_milliseconds(samples, rows):
    found = mfcc(noise(samples))
    assert found.shape == (rows, 13) and found.dtype == np.float32


def test_a_recording_in_blocks_is_the_same(monkeypatch):
    whole = mfcc(noise(9000))
    monkeypatch.setattr(module, "BLOCK", 7)
    assert np.array_equal(mfcc(noise(9000)), whole)


def test_floats_are_the_same_sound():
    sound = noise(4000)
    assert np.array_equal(mfcc((sound / 32768).astype(np.float32)), mfcc(sound))


def test_silence_is_finite():
    assert np.isfinite(mfcc(np.zeros(4000, np.int16))).all()


def test_the_first_coefficient_is_the_log_energy():
    sound = noise(4000)
    louder = mfcc(sound * np.int16(3))[:, 0] - mfcc(sound)[:, 0]
    np.testing.assert_allclose(louder, np.log(9), rtol=1e-5)


def test_filters_are_triangles_that_overlap_by_half():
    bank = filter_bank()
    assert bank.shape == (26, 257) and bank.max(axis=1).tolist() == [1] * 26
    peaks = bank.argmax(axis=1)
    np.testing.assert_allclose(bank[:, peaks[0] : peaks[-1] + 1].sum(axis=0), 1)
