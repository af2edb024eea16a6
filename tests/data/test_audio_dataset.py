"""Windows of 30 s: their truth lies where their sound does, and they are what the encoder hears at inference."""

from collections import Counter

import numpy as np
import pytest
import torch

from latentsync.data import audio_dataset
from latentsync.data.audio_dataset import (
    SETTLED_STEPS,
    STEPS,
    UNKNOWN,
    AudioDataset,
    add_noise,
    another_voice,
    as_heard,
    centres,
)
from latentsync.data.speech import VISEME_CLASSES
from latentsync.whisper.encoder import OVERLAPPING, build_encoder, encode_segments, hidden_states
from latentsync.whisper.export import encoder_dims
from latentsync.whisper.mel import log_spectrum

from .conftest import noise
from .spoken import write_spoken


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    return write_spoken(tmp_path_factory.mktemp("spoken"))


def alone(sample) -> bool:
    """Whether a window holds one sound, as long as it is."""
    return bool((sample["mel"][:, -1] == 0).all())


@pytest.mark.parametrize("augment", [False, True])
def test_the_truth_lies_where_the_sound_does(spoken, augment, monkeypatch):
    monkeypatch.setattr(audio_dataset, "HOLE_BANDS", 1)  # none, which could hide the only band that tells
    dataset = AudioDataset(spoken, seed=1, augment=augment)
    for number in range(8):
        sample = dataset[number]
        loudness = sample["mel"][25:60, ::2].amax(dim=0).numpy()  # another voice moves it by a few bands
        steps = np.flatnonzero(sample["mouth"][:, 1] > 0)[2:-2]  # all else is a mouth at rest
        opening = sample["mouth"][steps, 0].numpy()
        by_lag = {lag: np.corrcoef(opening, loudness[steps + lag])[0, 1] for lag in range(-2, 3)}
        assert max(by_lag, key=by_lag.get) == 0, by_lag
        assert augment or by_lag[0] > 0.99


def test_each_step_of_a_clip_keeps_its_truth(spoken):
    dataset = AudioDataset(spoken, seed=1)
    number = next(n for n in range(20) if alone(dataset[n]))
    sample, clip = dataset[number], dataset.clip(number)
    n = len(clip.visemes)
    assert np.array_equal(sample["mouth"][:n], clip.mouth) and np.array_equal(sample["viseme"][:n], clip.visemes)
    assert (sample["viseme"][n:] == UNKNOWN).all()
    assert (sample["mel"][:, 2 * n :] == 0).all() and (sample["mel"][:, 2 * n - 1] != 0).any()


def test_a_window_is_what_inference_hears():
    samples = noise(0, 3.0)
    encoder = build_encoder(encoder_dims(n_mels=80, n_audio_ctx=1500, n_audio_state=8, n_audio_head=2, n_audio_layer=1))
    mel = as_heard(log_spectrum(samples, 0, 300))
    assert mel.shape == (80, 3000)
    ((_, features),) = encode_segments(encoder, samples, OVERLAPPING)
    with torch.no_grad():
        torch.testing.assert_close(hidden_states(encoder, mel[None])[0, :150], features)


def test_windows_are_functions_of_seed_and_number(spoken):
    one, other = (AudioDataset(spoken, seed=5, augment=True) for _ in range(2))
    _ = [other[n] for n in (3, 1)]  # in another order
    for number in (1, 7):
        a, b = one[number], other[number]
        assert all(torch.equal(a[key], b[key]) for key in ("mel", "mouth", "viseme")) and a["number"] == number
    assert not torch.equal(one[1]["mel"], one[2]["mel"])
    assert not torch.equal(one[1]["mel"], AudioDataset(spoken, seed=6, augment=True)[1]["mel"])


def test_windows_begin_with_every_clip_in_turn_and_are_full_or_of_one_sound(spoken):
    dataset = AudioDataset(spoken, seed=0)
    firsts = [dataset.clip(n).clip.key for n in range(6)]
    assert all(sorted(firsts[i : i + 3]) == ["0.mp4", "1.mp4", "2.mp4"] for i in (0, 3))
    kinds = Counter(alone(dataset[n]) for n in range(60))
    assert 5 < kinds[True] < 22


def test_long_pauses_are_a_mouth_at_rest_and_what_is_near_to_words_is_unknown(spoken):
    dataset, rests = AudioDataset(spoken, seed=2), 0
    for number in range(30):
        sample = dataset[number]
        if alone(sample):
            continue
        viseme, pause = sample["viseme"].numpy(), sample["mouth"][:, 1].numpy() == 0
        edges = np.flatnonzero(np.diff(np.concatenate([[False], pause, [False]]).astype(int)))
        for start, end in edges.reshape(-1, 2):
            first = start + SETTLED_STEPS if start else 0
            known = np.flatnonzero(viseme[start:end] != UNKNOWN) + start
            assert known.tolist() == list(range(first, end - SETTLED_STEPS))
            assert (viseme[known] == VISEME_CLASSES.index("sil")).all()
            rests += len(known) > 0
        assert sample["mouth"].shape == (STEPS, 8)
    assert rests > 5


def test_another_voice_keeps_silence_and_its_time():
    spectrum = torch.full((80, 20), 0.0)
    spectrum[:, 7] = -10.0
    for seed in range(20):
        changed = another_voice(spectrum, np.random.default_rng(seed))
        assert changed.shape == spectrum.shape and changed.min() >= -10
        assert changed.mean(dim=0).argmin() == 7


def test_noise_fills_silence_and_never_what_is_loud():
    levels = []
    for seed in range(60):
        spectrum = torch.full((80, 50), -10.0)
        spectrum[:, 10:20] = 1.0
        add_noise(spectrum, np.random.default_rng(seed))
        assert spectrum.min() >= -10.001 and (spectrum[:, 10:20] > 0.999).all()
        levels.append(spectrum[:, 30:].mean().item())
    assert 0.1 < np.mean(np.array(levels) < -9) < 0.5 and max(levels) < 1


def test_the_bands_of_whispers_mel_rise():
    assert (np.diff(centres(80)) > 0).all() and 0 < centres(80)[0] < 100 and 7500 < centres(80)[-1] < 8000


def test_without_clips_there_is_no_set():
    with pytest.raises(ValueError, match="expected clips, got none"):
        AudioDataset([], seed=0)
