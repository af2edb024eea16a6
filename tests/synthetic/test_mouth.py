# ruff: noqa: RUF001 (the letters of IPA look like others)
"""Mouths that close where the sound says so, move smoothly, and rest in silence."""

from itertools import pairwise

import numpy as np
import pytest

from latentsync.synthetic.mouth import (
    JAW,
    PARAMETERS,
    PRESS,
    PUCKER,
    REST,
    TONGUE,
    TUCK,
    UPPER,
    VISEME_OF,
    VISEMES,
    WIDE,
    closed_intervals,
    gestures,
    mouth_track,
    opening,
    viseme_at,
)
from latentsync.synthetic.sentences import LANGUAGES, random_sentence
from latentsync.synthetic.speech import SILENCE, Phoneme, pad, random_voice, silence, speak


def word(*symbols, length_s=0.12, start_s=1.0):
    """Phonemes in a row after a second of silence, and a second of silence."""
    edges = start_s + length_s * np.arange(len(symbols) + 1)
    sounds = [Phoneme(symbol, *times) for symbol, times in zip(symbols, pairwise(edges.tolist()), strict=True)]
    return [Phoneme(SILENCE, 0, start_s), *sounds, Phoneme(SILENCE, float(edges[-1]), float(edges[-1]) + 1)]


def middle(phonemes, index, parameter):
    """The parameter in the middle of the index-th sound."""
    phoneme = phonemes[index + 1]
    return mouth_track(phonemes, [(phoneme.start_s + phoneme.end_s) / 2])[0, parameter]


@pytest.fixture(scope="module")
def spoken(espeak):
    """40 random sentences of each language by random voices, with silence around them."""
    rng = np.random.default_rng(7)
    return {
        language: [pad(speak(random_sentence(rng, language), random_voice(rng, language)), 0.3, 0.5) for _ in range(40)]
        for language in LANGUAGES
    }


# --- Closures


@pytest.mark.parametrize("language", LANGUAGES)
def test_lips_close_for_every_p_b_and_m(spoken, language):
    count = 0
    for speech in spoken[language]:
        centres = np.arange(0.02, speech.duration_s, 0.04)
        pressed = mouth_track(speech.phonemes, centres)[:, PRESS]
        for start_s, end_s in closed_intervals(speech.phonemes):
            assert end_s - start_s >= 0.05
            assert (mouth_track(speech.phonemes, np.linspace(start_s, end_s, 12))[:, PRESS] == 1).all()
            assert (pressed[(centres >= start_s) & (centres <= end_s)] == 1).any()
        for phoneme in speech.phonemes:
            if phoneme.symbol[0] in "pbm":
                count += 1
                near = np.arange(phoneme.start_s - 0.06, phoneme.end_s, 0.002)
                assert (mouth_track(speech.phonemes, near)[:, PRESS] == 1).sum() >= 25  # 50 ms
    assert count > 60


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sound_is_faintest_where_the_lips_are_closed(spoken, language):
    """Above a nasal's murmur. Intervals shifted by -60...60 ms: the true ones contain the least."""
    shifts_s = np.arange(-0.06, 0.061, 0.01)
    levels = np.zeros(len(shifts_s))
    for speech in spoken[language]:
        decibels = 20 * np.log10(loudness_above(speech, 700) + 1e-3)
        for start_s, end_s in closed_intervals(speech.phonemes):
            for i, shift_s in enumerate(shifts_s):
                first, last = (round((time_s + shift_s) * speech.sample_rate) for time_s in (start_s, end_s))
                levels[i] += decibels[first:last].mean()
    assert abs(shifts_s[levels.argmin()]) < 0.015


def loudness_above(speech, frequency):
    spectrum = np.fft.rfft(speech.samples)
    spectrum[np.fft.rfftfreq(len(speech.samples), 1 / speech.sample_rate) < frequency] = 0
    power = np.fft.irfft(spectrum, len(speech.samples)) ** 2
    return np.sqrt(np.convolve(power, np.ones(110) / 110, "same"))


def test_lips_close_before_the_burst_of_a_p():
    ((start_s, end_s),) = closed_intervals(word("a", "p", "a"))
    assert end_s == pytest.approx(1.12) and end_s - start_s == pytest.approx(0.055)


def test_a_b_after_a_vowel_is_closed_until_shortly_before_its_end():
    ((start_s, end_s),) = closed_intervals(word("a", "b", "a"))
    assert start_s == pytest.approx(1.12) and 1.2 < end_s < 1.24
    ((_, end_s),) = closed_intervals(word("a", "s", "b", "a"))
    assert end_s == pytest.approx(1.24)


def test_closures_in_a_row_are_one():
    assert len(closed_intervals(word("a", "m", "b", "a", length_s=0.07))) == 1
    assert len(closed_intervals(word("m", "a", "m", length_s=0.15))) == 2
    assert closed_intervals(word("s", "a")) == []


def test_lips_part_for_a_vowel_between_closures():
    phonemes = word("m", "a", "m", "a", length_s=0.12)
    assert opening(mouth_track(phonemes, [1.06, 1.18, 1.30]))[[0, 2]].max() == 0
    assert opening(mouth_track(phonemes, [1.18])) > 0.4


# --- Shapes


def test_sounds_shape_the_mouth():
    assert middle(word("s", "iː", "s"), 1, WIDE) > 0.5
    assert middle(word("s", "uː", "s"), 1, PUCKER) > 0.6 and middle(word("s", "uː", "s"), 1, WIDE) < -0.4
    assert middle(word("w", "a"), 0, PUCKER) > 0.6
    assert middle(word("d", "yː", "n"), 1, PUCKER) > 0.6
    assert middle(word("a", "f", "a"), 1, TUCK) == middle(word("a", "v", "a"), 1, TUCK) == 1
    assert middle(word("a", "θ", "a"), 1, TONGUE) > 0.5
    assert middle(word("h", "aː", "t"), 1, JAW) > 0.5 > middle(word("s", "iː", "s"), 1, JAW)


def test_consonants_take_the_lips_of_their_vowels():
    assert middle(word("k", "u"), 0, PUCKER) > 0.5 > 0.2 > middle(word("k", "i"), 0, PUCKER)
    assert middle(word("k", "i"), 0, WIDE) > 0.3


def test_stress_opens_the_jaw():
    def jaw(stress):
        return mouth_track([Phoneme("a", 0, 0.2, stress)], [0.1])[0, JAW]

    assert jaw(2) > 1.05 * jaw(1) > 1.1 * jaw(0)


def test_diphthongs_move():
    phonemes = word("aʊ", length_s=0.3)
    early, late = mouth_track(phonemes, [1.06, 1.25])
    assert early[JAW] > 1.5 * late[JAW] and late[PUCKER] > early[PUCKER] + 0.4


def test_articulation_scales_movements_but_not_closures(spoken):
    speech = spoken["en"][0]
    times_s = np.arange(0, speech.duration_s, 0.01)
    weak, strong = (mouth_track(speech.phonemes, times_s, articulation=a) for a in (0.7, 1.3))
    assert opening(strong).mean() > 1.5 * opening(weak).mean()
    assert np.array_equal(weak[:, [TUCK, PRESS]] == 1, strong[:, [TUCK, PRESS]] == 1)


def test_every_sound_has_a_viseme(spoken):
    for speeches in spoken.values():
        for phoneme in (p for speech in speeches for p in speech.phonemes if p.symbol != SILENCE):
            assert set(phoneme.symbol) & set(VISEME_OF), phoneme


# --- Curves


def test_curves_are_smooth_and_in_range(spoken):
    low = np.where(np.arange(len(PARAMETERS)) == WIDE, -1, 0)
    for speeches in spoken.values():
        for speech in speeches[:15]:
            track = mouth_track(speech.phonemes, np.arange(0, speech.duration_s, 0.005), articulation=1.3)
            assert track.dtype == np.float32 and track.shape[1] == len(PARAMETERS)
            assert (track >= low).all() and (track <= 1).all()
            assert np.abs(np.diff(track, axis=0)).max() < 0.35  # of 2, in 5 ms
            fine = mouth_track(speech.phonemes, np.arange(0.4, 0.9, 0.0005), articulation=1.3)
            assert np.abs(np.diff(fine, axis=0)).max() < 0.035  # ten times finer, ten times smaller: no jumps


def test_the_curve_does_not_depend_on_the_sampling(spoken):
    phonemes = spoken["fr"][0].phonemes
    times_s = np.arange(0, 2, 0.01)
    whole = mouth_track(phonemes, times_s)
    assert np.abs(mouth_track(phonemes, times_s[::7]) - whole[::7]).max() < 1e-5
    assert np.abs(mouth_track(phonemes, times_s[50:60]) - whole[50:60]).max() < 1e-5


def test_silence_rests_closed(spoken):
    assert np.allclose(mouth_track(silence(1).phonemes, np.linspace(0, 1, 9)), REST)
    assert np.allclose(mouth_track([], [0.0]), REST)
    pause = word("a", "t", "a")
    assert np.allclose(mouth_track(pause, [0.5, pause[-1].end_s - 0.5]), REST)
    for speech in spoken["de"]:
        ends = mouth_track(speech.phonemes, [0.0, speech.duration_s])
        assert opening(ends).max() == 0 and ends[:, UPPER].max() == 0


def test_opening_is_zero_when_pressed_and_about_one_for_an_a():
    shapes = np.zeros((3, len(PARAMETERS)), np.float32)
    shapes[:, JAW] = 0.9
    shapes[1, PRESS] = 1
    shapes[2, TUCK] = 1
    wide, pressed, tucked = opening(shapes)
    assert 0.9 < wide <= 1.2 and pressed == 0 and 0 < tucked < 0.2


def test_the_mouth_moves_with_the_sound(spoken):
    """Opening against loudness, shifted by -200...200 ms: on average over the sentences it fits best unshifted."""
    for speeches in spoken.values():
        fits = np.mean([correlations(speech) for speech in speeches], axis=0)
        assert abs(fits.argmax() - 40) <= 6  # 30 ms
        assert fits.max() > 0.3


def correlations(speech):
    time_s = np.arange(0, speech.duration_s, 0.005)
    opened = opening(mouth_track(speech.phonemes, time_s))
    smooth = np.convolve(speech.samples.astype(float) ** 2, np.hanning(661), "same")
    loudness = smooth[(time_s * speech.sample_rate).astype(int)] ** 0.25
    return [np.corrcoef(opened[40 + k : len(opened) - 40 + k], loudness[40:-40])[0, 1] for k in range(-40, 41)]


# --- Names


def test_visemes_by_name(spoken):
    phonemes = word("p", "a", "f", "u")
    named = viseme_at(phonemes, [0.2, 0.97, 1.18, 1.30, 1.42, 2.0])
    assert named == ["sil", "PP", "aa", "FF", "ou", "sil"]
    assert viseme_at([], [0.0]) == ["sil"]
    for speech in spoken["cmn"]:
        names = viseme_at(speech.phonemes, np.arange(0, speech.duration_s, 0.02))
        assert set(names) <= {"sil", *VISEMES} and names[0] == names[-1] == "sil"


def test_gestures_follow_each_other(spoken):
    for speeches in spoken.values():
        for speech in speeches:
            found = gestures(speech.phonemes)
            assert all(gesture.end_s >= gesture.start_s for gesture in found)
            assert sum(b.start_s < a.end_s - 1e-9 for a, b in pairwise(found)) <= 0.05 * len(found)
