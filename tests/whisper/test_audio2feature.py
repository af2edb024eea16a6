"""Features of recordings of any length, and the windows that frames read. Numbers are in test_golden.py."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from whisper.audio import log_mel_spectrogram

from latentsync.errors import CheckpointError
from latentsync.whisper import mel
from latentsync.whisper.audio2feature import Audio2Feature, stream_windows, window_indices
from latentsync.whisper.encoder import ABUTTING, OVERLAPPING, encode_segments, stream_features

from ..golden_families import golden_rule
from ..golden_families.whisper import whisper_file

DIMS = {
    "n_mels": 80,
    "n_audio_ctx": 1500,
    "n_audio_state": 32,
    "n_audio_head": 2,
    "n_audio_layer": 2,
    "n_vocab": 32,
    "n_text_ctx": 8,
    "n_text_state": 16,
    "n_text_head": 2,
    "n_text_layer": 1,
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Audio2Feature:
    return Audio2Feature(whisper_file(tmp_path_factory.mktemp("whisper"), DIMS), "cpu")


def speech(seconds: float) -> np.ndarray:
    return golden_rule().waveform("speech", seconds)


def test_any_stretch_of_the_spectrum_equals_that_of_the_whole():
    samples = speech(3.0)
    whole = mel.log_spectrum(samples, 0, 300)
    for start, stop in ((0, 1), (0, 100), (99, 101), (150, 300), (299, 300)):
        torch.testing.assert_close(mel.log_spectrum(samples, start, stop), whole[:, start:stop])


def test_log_mel_is_that_of_the_whisper_package():
    samples = speech(2.0)
    theirs = log_mel_spectrogram(torch.from_numpy(samples.astype(np.float32) / 32768))
    torch.testing.assert_close(mel.log_mel(samples), theirs)


def test_floor_depends_on_the_loudest_moment_of_the_whole_recording():
    samples = np.concatenate([speech(35.0) // 50, speech(1.0)])
    spectrum = mel.log_spectrum(samples, 0, mel.n_columns(len(samples)))
    assert mel.loudest(samples) == pytest.approx(spectrum.max().item(), abs=1e-6)


def test_up_to_30_seconds_overlapping_segments_change_nothing(encoder):
    samples = speech(29.9)
    ours = torch.cat(list(stream_features(encoder.model, samples, OVERLAPPING)))
    public = torch.cat(list(stream_features(encoder.model, samples, ABUTTING)))
    assert torch.equal(ours, public)


@pytest.mark.parametrize("seconds", [30.0, 30.02, 50.0, 50.03, 75.0])
def test_every_step_comes_out_once(encoder, seconds):
    samples = speech(seconds)
    for segmentation in (OVERLAPPING, ABUTTING):
        pieces = list(stream_features(encoder.model, samples, segmentation))
        assert sum(map(len, pieces)) == len(samples) // 320


def test_inside_a_segment_features_are_the_segments_own(encoder):
    samples = speech(47.0)
    ours = torch.cat(list(stream_features(encoder.model, samples)))
    (first, a), (second, b) = encode_segments(encoder.model, samples, OVERLAPPING)
    assert (first, second) == (0, 1000)
    assert torch.equal(ours[:1240], a[:1240])
    assert torch.equal(ours[1260:], b[260:])


def test_at_a_border_features_step_at_most_half_as_far_as_the_public_ones(encoder):
    samples = speech(65.0)

    def largest_step(segmentation, borders: list[int]) -> float:
        features = torch.cat(list(stream_features(encoder.model, samples, segmentation)))
        steps = (features[1:] - features[:-1]).flatten(1).norm(dim=1)
        return max(steps[border - 15 : border + 15].max().item() for border in borders)

    public = largest_step(ABUTTING, [1500, 3000])
    ours = largest_step(OVERLAPPING, [1250, 2250])
    assert ours <= public / 2, (ours, public)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30), Fraction(24000, 1001)])
def test_streamed_windows_are_those_of_the_whole(rate):
    features = torch.randn(403, 3, 8)
    pieces = features.split([1, 7, 150, 45, 200])
    n_frames = int(403 * rate / 50) + 2
    windows = list(stream_windows(pieces, 403, n_frames, rate))
    assert len(windows) == n_frames
    for frame, window in enumerate(windows):
        steps = window_indices(frame, rate, (2, 2), 403)
        assert torch.equal(window, features[steps].flatten(0, 1))


def test_frame_index_is_exact_after_hours():
    """Binary fractions drift: 50 / (24000 / 1001) times a large frame number."""
    frame, rate = 24000 * 3600, Fraction(24000, 1001)
    assert window_indices(frame, rate, (2, 2), 10**9)[4] == 1001 * 3600 * 50


def test_a_moment_of_sound_is_extended_with_silence(encoder):
    windows = list(encoder.stream(speech(0.01), 1, Fraction(25)))
    assert [tuple(w.shape) for w in windows] == [(encoder.tokens_per_frame, 32)]


def test_features_are_cached_by_content(encoder, tmp_path, monkeypatch):
    cached = Audio2Feature(encoder.model_path, "cpu", tmp_path / "cache")
    first = cached._cached_features(speech(1.0))
    monkeypatch.setattr(cached, "features", lambda samples: pytest.fail("computed again"))
    assert torch.equal(cached._cached_features(speech(1.0)), first)
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        cached._cached_features(speech(1.1))


def test_a_file_that_is_no_whisper_model_is_named(tmp_path):
    torch.save({"state_dict": {"conv_in.weight": torch.zeros(1)}}, tmp_path / "tiny.pt")
    with pytest.raises(CheckpointError, match=r"tiny\.pt: expected a Whisper model"):
        Audio2Feature(tmp_path / "tiny.pt", "cpu")
