"""SyncNet's mel spectrogram. Its numbers are in test_golden.py."""

import numpy as np
import pytest

from latentsync.data.mel import frames_covered, mel_spectrogram, mel_start, mel_width, mel_window

from .conftest import noise


def test_silence_is_the_least_value_everywhere():
    mel = mel_spectrogram(np.zeros(1000, np.int16))
    assert mel.shape == (80, 6) and mel.dtype == np.float32 and (mel == -4).all()


def test_integers_and_fractions_are_the_same_sound():
    samples = noise(0, 1.0)
    np.testing.assert_allclose(
        mel_spectrogram(samples), mel_spectrogram(samples.astype(np.float32) / 32768), atol=1e-5
    )


def test_widths_and_starts_are_the_public_ones():
    assert [mel_width(n) for n in (5, 16, 25)] == [16, 52, 80]
    assert [mel_start(n) for n in range(7)] == [0, 3, 6, 9, 12, 16, 19]


@pytest.mark.parametrize("num_frames", [5, 16, 25])
def test_covered_starts_are_those_whose_window_is_complete(num_frames):
    for n_columns in range(300):
        starts = [s for s in range(120) if mel_start(s) + mel_width(num_frames) <= n_columns]
        assert frames_covered(n_columns, num_frames) == max(starts, default=-1)


def test_sound_as_long_as_the_picture_covers_every_start():
    for n_frames in range(16, 400):
        assert frames_covered(1 + n_frames * 640 // 200, 16) >= n_frames - 16


def test_windows_are_cut_where_their_frames_are():
    mel = np.tile(np.arange(154.0, dtype=np.float32), (80, 1))
    window = mel_window(mel, 6, 16)
    assert window.shape == (1, 80, 52) and (window[0, :, 0] == 19).all()
    with pytest.raises(ValueError, match="columns 105 to 157"):
        mel_window(mel, 33, 16)
