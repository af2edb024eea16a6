"""The truth of drawn people at the moments of the encoder's positions, and the spectra of their sound."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from whisper.model import ModelDimensions

from latentsync.data import speech
from latentsync.data.clips import find_clips
from latentsync.data.inspection import read_sound
from latentsync.data.speech import CURVES, VISEME_CLASSES, prepare_speech, read_truth
from latentsync.errors import ConfigError, MediaError
from latentsync.whisper.encoder import build_encoder, hidden_states
from latentsync.whisper.mel import log_spectrum

from .spoken import write_speaker


@pytest.fixture(scope="module")
def speakers(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("speakers")
    for seed in range(2):
        write_speaker(folder, f"{seed}", seed)
    return folder


def change(path: Path, **values) -> None:
    """Replace what a sidecar says of its only person, or of the clip."""
    truth = json.loads(path.with_suffix(".json").read_text())
    for key, value in values.items():
        (truth if key in truth else truth["people"][0])[key] = value
    path.with_suffix(".json").write_text(json.dumps(truth))


# --------------------------------------------------------------- moments


def test_a_click_is_loudest_in_the_column_of_its_moment():
    samples = np.zeros(16000, np.float32)
    samples[round(0.37 * 16000)] = 0.5
    assert log_spectrum(samples, 0, 100).sum(dim=0).argmax() == 37


def test_a_position_hears_the_columns_around_twice_its_number():
    """Before any attention; so its middle is p / 50 s, not half a position later."""
    encoder = build_encoder(ModelDimensions(80, 1500, 8, 2, 1, 1, 1, 1, 1, 0))
    mel = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0), requires_grad=True)
    hidden_states(encoder, mel)[0, 50, 0].sum().backward()
    assert mel.grad[0].abs().sum(dim=0).nonzero().flatten().tolist() == [98, 99, 100, 101, 102]


@pytest.mark.parametrize("rate", ["25", "30", "24000/1001"])
def test_curves_are_the_frames_values_in_the_middle_of_each_frame(tmp_path, rate):
    n, ramp = 40, np.arange(40)
    frames = {name: (ramp * (i + 1)).tolist() for i, name in enumerate(CURVES)}
    person = {"speaks": True, "frames": frames, "phonemes": [["_", 0.0, 2.0]]}
    truth = {"people": [person], "fps": rate, "sound": {"offset_frames": 0}}
    (tmp_path / "a.json").write_text(json.dumps(truth))
    mouth, visemes = read_truth(tmp_path / "a.mp4")
    seconds = n / Fraction(rate)
    assert len(mouth) == len(visemes) == int(seconds * 50)
    expected = (np.arange(len(mouth)) / 50 * float(Fraction(rate)) - 0.5).clip(0, n - 1)
    np.testing.assert_allclose(mouth, expected[:, None] * np.arange(1, 9), rtol=1e-5, atol=1e-4)
    if rate == "25":  # every odd step is a frame's middle
        assert np.array_equal(mouth[1::2, 0], ramp)


def test_visemes_change_where_phonemes_do(tmp_path):
    person = {
        "speaks": True,
        "frames": {name: [0.0] * 50 for name in CURVES},
        "phonemes": [["_", 0, 0.5], ["a", 0.5, 0.91], ["m", 0.91, 1.12], ["i", 1.12, 1.6], ["_", 1.6, 2]],
    }
    truth = {"people": [person], "fps": "25", "sound": {"offset_frames": 0}}
    (tmp_path / "a.json").write_text(json.dumps(truth))
    names = [VISEME_CLASSES[i] for i in read_truth(tmp_path / "a.mp4")[1]]
    borders = [(i / 50, names[i]) for i in range(1, len(names)) if names[i] != names[i - 1]]
    assert names[0] == "sil"
    assert borders == [(0.5, "aa"), (0.92, "PP"), (1.1, "ih"), (1.6, "sil")]  # lips part 20 ms before an m ends


def test_sound_and_truth_of_a_clip_agree_to_a_step(speakers, tmp_path):
    """Stand-ins hum while a vowel lasts and are silent else; the sound was encoded and decoded again."""
    for clip in prepare_speech(find_clips(speakers), tmp_path, n_workers=1).clips:
        loud = np.load(clip.spectrum).astype(np.float32).max(axis=0)[: 2 * len(clip.visemes) : 2] > -3
        vowel = np.isin(clip.visemes, [VISEME_CLASSES.index(name) for name in ("aa", "ih", "ou")])
        by_lag = {lag: np.mean(loud[5 + lag : len(loud) - 5 + lag] == vowel[5:-5]) for lag in range(-4, 5)}
        assert max(by_lag, key=by_lag.get) == 0 and by_lag[0] > 0.85, by_lag


# ----------------------------------------------------------------- cache


def test_spectra_are_those_of_the_sound_and_made_once(speakers, tmp_path, monkeypatch):
    clips = find_clips(speakers)
    seen = []
    prepared = prepare_speech(clips, tmp_path, n_workers=1, progress=lambda *told: seen.append(told)).clips
    assert seen == [("spectra", 1, 2), ("spectra", 2, 2)]
    samples = read_sound(clips[0].path)
    exact = log_spectrum(samples, 0, len(samples) // 160)
    np.testing.assert_allclose(np.load(prepared[0].spectrum), exact, atol=0.005)  # of float16
    assert len(prepared[0].mouth) == len(prepared[0].visemes) == 120
    monkeypatch.setattr(speech, "read_sound", lambda path: pytest.fail("read again"))
    again = prepare_speech(clips, tmp_path, n_workers=1).clips
    assert [clip.spectrum for clip in again] == [clip.spectrum for clip in prepared]


def test_what_cannot_teach_is_told(speakers, tmp_path):
    write_speaker(tmp_path, "early", 3, audio_offset=2)
    write_speaker(tmp_path, "mute", 4, mute=True)
    write_speaker(tmp_path, "untold", 5).with_suffix(".json").unlink()
    write_speaker(tmp_path, "damaged", 6)
    change(tmp_path / "damaged.mp4", phonemes=None)
    write_speaker(tmp_path, "good", 7)
    prepared = prepare_speech(find_clips(tmp_path), tmp_path / "cache", n_workers=1)
    assert [clip.clip.key for clip in prepared.clips] == ["good.mp4"]
    reasons = {clip.key: reason for clip, reason in prepared.unusable}
    assert reasons["early.mp4"] == reasons["mute.mp4"] == "is not of one person who speaks in sync; leave it out"
    for name, error in (("untold", "FileNotFoundError"), ("damaged", "TypeError")):
        assert reasons[f"{name}.mp4"].startswith(f"has no truth that can be read beside it ({error} in {name}.json)")


def test_silence_has_no_spectrum(speakers, tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "read_sound", lambda path: np.zeros(16000, np.int16))
    with pytest.raises(ConfigError, match="nothing but silence"):
        prepare_speech(find_clips(speakers), tmp_path, n_workers=1)


def test_two_people_are_refused(tmp_path):
    path = write_speaker(tmp_path, "two", 8, people=2)
    with pytest.raises(MediaError, match=r"two\.mp4 is not of one person"):
        read_truth(path)
