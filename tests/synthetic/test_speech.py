# ruff: noqa: RUF001 (the letters of IPA look like others)
"""Speech that repeats exactly, covers the sounds of its languages, and says when each of them is spoken."""

import ctypes.util
import hashlib
import importlib.util
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from latentsync.errors import SpeechError
from latentsync.synthetic import espeak as binding
from latentsync.synthetic.room import add_room
from latentsync.synthetic.sentences import LANGUAGES, random_sentence
from latentsync.synthetic.speech import (
    ACCENTS,
    ALL_VARIANTS,
    SAMPLE_RATE,
    SILENCE,
    VARIANTS,
    VOICES,
    Voice,
    is_available,
    join,
    pad,
    random_speech,
    random_voice,
    silence,
    speak,
)

PAPA = Voice("gmw/en-US+m3", "en")
SOUNDS = {  # letters of IPA that 150 sentences contain
    "en": "pbmfvwtdnszʃʒθðkɡŋhjlɹ" + "æɛɪʌʊəɚɔɑiua",
    "es": "pbmβfθðsxkɡɣtdnɲlʎɾrwjaeiou",
    "de": "pbmfvtdnszʃçxkɡŋhjlɾaɛɪʊɔʏœøyəiueo",
    "fr": "pbmfvtdnszʃʒkɡɲlʁwjaeɛiouyøœɔɑə",
    "cmn": "pmfwtnlkŋχɕʐsɑaəioue" + "y",
}


def random(seed=0):
    return np.random.default_rng(seed)


def digest(text, voice):
    return hashlib.sha256(speak(text, voice).samples.tobytes()).hexdigest()


# --- Sentences


@pytest.mark.parametrize("language", LANGUAGES)
def test_thousands_of_sentences(language):
    rng = random()
    sentences = [random_sentence(rng, language) for _ in range(3000)]
    assert len(set(sentences)) > 1500
    assert all(sentence[-1] in ".?!" and "{" not in sentence and "  " not in sentence for sentence in sentences)
    assert sum(sentence.endswith("?") for sentence in sentences) > 300
    assert sentences[:10] == [random_sentence(rng, language) for rng in [random()] for _ in range(10)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_cover_the_sounds_of_their_language(espeak, language):
    rng = random()
    voice = PAPA if language == "en" else Voice(ACCENTS[language][0], language)
    spoken = [speak(random_sentence(rng, language), voice) for _ in range(150)]
    letters = {letter for speech in spoken for phoneme in speech.phonemes for letter in phoneme.symbol}
    assert not set(SOUNDS[language]) - letters
    lips = [p for speech in spoken for p in speech.phonemes if p.symbol[0] in "pbmβfvwuoyøœʊɔ"]
    assert len(lips) > 0.15 * sum(len(speech.phonemes) for speech in spoken)


def test_unknown_language_names_the_known_ones():
    with pytest.raises(ValueError, match="en, es, de, fr, cmn, got 'la'"):
        random_sentence(random(), "la")
    with pytest.raises(ValueError, match="got 'la'"):
        random_voice(random(), "la")


# --- Speaking


def test_phonemes_cover_the_samples_without_gaps(espeak):
    for language in LANGUAGES:
        speech = speak(random_sentence(random(1), language), Voice(VOICES[language][0], language))
        assert speech.samples.dtype == np.float32 and 0.05 < np.abs(speech.samples).max() <= 1
        assert speech.sample_rate == SAMPLE_RATE
        assert speech.phonemes[0].start_s == 0 and speech.phonemes[-1].end_s == speech.duration_s
        for before, after in pairwise(speech.phonemes):
            assert before.end_s == after.start_s > before.start_s
            assert (before.symbol, after.symbol) != (SILENCE, SILENCE)


def test_stress_is_kept_apart_from_the_symbol(espeak):
    vowels = {p.symbol: p.stress for p in speak("piano", PAPA).phonemes}
    assert vowels["æ"] == 2 and vowels["p"] == 0
    assert not any(mark in symbol for mark in "ˈˌ" for symbol in vowels)


def test_words_of_other_languages_leave_no_marks(espeak):
    speech = speak("Sie sucht ein Baby und einen Computer im Bus.", Voice("gmw/de+f1", "de"))
    assert not any("(" in phoneme.symbol for phoneme in speech.phonemes)


def test_a_sentence_sounds_the_same_after_others_and_in_a_fresh_process(espeak):
    voice, text = Voice("gmw/en+f3", "en", rate=170, pitch=60, pitch_range=70), "Papa bought five apples. Why?"
    first = digest(text, voice)
    for language in LANGUAGES:
        rng = random(3)
        speak(random_sentence(rng, language), random_voice(rng, language))
    assert digest(text, voice) == first
    time.sleep(1.1)  # the library seeds itself with the second
    assert digest(text, voice) == first
    code = f"from tests.synthetic.test_speech import *; print(digest({text!r}, {voice!r}))"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == first


def test_threads_wait_for_each_other(espeak):
    texts = [f"{number} blue balloons." for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: digest(text, PAPA), texts))
    assert together == [digest(text, PAPA) for text in texts]


def test_pace_and_pitch_matter(espeak):
    text = "My mother moved the piano."
    slow, fast = (speak(text, Voice("gmw/en+f1", "en", rate=rate)) for rate in (120, 200))
    assert slow.duration_s > 1.3 * fast.duration_s
    assert digest(text, PAPA) != digest(text, Voice(PAPA.name, "en", pitch=70))


def test_every_voice_speaks_in_its_own_way(espeak):
    text = {"cmn": "ma1 ma5 ai4 ba4 ba5."}
    for language, accents in ACCENTS.items():
        names = [name for name in VOICES[language] if name.startswith(f"{accents[0]}+")]
        spoken = {digest(text.get(language, "Mama papa."), Voice(name, language)) for name in names}
        assert len(spoken) == len(names) == len(ALL_VARIANTS)


def test_random_voice_keeps_to_the_given_identities():
    rng = random()
    voices = [random_voice(rng, variants=VARIANTS[:3]) for _ in range(200)]
    assert {voice.variant for voice in voices} == set(VARIANTS[:3])
    assert {voice.language for voice in voices} == set(LANGUAGES)
    assert all(voice.name in VOICES[voice.language] for voice in voices)
    assert random_voice(random(4)) == random_voice(random(4))


# --- Durations


def test_silence_has_one_phoneme_and_no_sound():
    speech = silence(0.5)
    assert len(speech.samples) == SAMPLE_RATE // 2 and not speech.samples.any()
    assert [(p.symbol, p.start_s, p.end_s) for p in speech.phonemes] == [(SILENCE, 0, 0.5)]
    assert silence(0).phonemes == () and speech.voice is None and speech.language == ""


def test_padding_moves_the_phonemes(espeak):
    speech = speak("Papa.", PAPA)
    padded = pad(speech, 0.25, 0.5)
    lead = len(padded.samples) - len(speech.samples) - SAMPLE_RATE // 2
    assert np.array_equal(padded.samples[lead : lead + len(speech.samples)], speech.samples)
    moved = next(p for p in padded.phonemes if p.symbol == "p")
    assert moved.start_s == pytest.approx(
        lead / SAMPLE_RATE + next(p for p in speech.phonemes if p.symbol == "p").start_s
    )
    assert (padded.text, padded.voice) == ("Papa.", PAPA)


def test_parts_of_different_rates_do_not_join():
    with pytest.raises(ValueError, match=r"\[16000, 22050\]"):
        join([silence(1), silence(1, 16000)])


@pytest.mark.parametrize("duration_s", [0.2, 1.0, 2.013, 12.0])
def test_random_speech_fills_a_duration(espeak, duration_s):
    speech = random_speech(random(5), PAPA, duration_s)
    assert len(speech.samples) == round(duration_s * SAMPLE_RATE)
    assert speech.phonemes[0].symbol == SILENCE and speech.phonemes[-1].end_s == pytest.approx(speech.duration_s)
    spoken_s = sum(p.end_s - p.start_s for p in speech.phonemes if p.symbol != SILENCE)
    assert duration_s < 5 or spoken_s > 0.5 * duration_s
    assert np.array_equal(speech.samples, random_speech(random(5), PAPA, duration_s).samples)


# --- The library


def test_without_the_library_the_error_names_the_install_command(monkeypatch):
    monkeypatch.delenv(binding.VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    assert not is_available()
    with pytest.raises(SpeechError, match=r"run `pip install espeakng-loader==0\.2\.4`"):
        speak("Hello.", PAPA)


def test_the_variable_comes_first(monkeypatch, tmp_path):
    monkeypatch.setenv(binding.VARIABLE, str(tmp_path / "absent.so"))
    with pytest.raises(SpeechError, match=r"LATENTSYNC_ESPEAK names .*absent\.so"):
        binding.find_library()
    (tmp_path / "absent.so").write_text("not a library")
    assert not is_available()
    with pytest.raises(SpeechError, match="does not load"):
        speak("Hello.", PAPA)


def test_an_old_library_is_refused_by_name(espeak, monkeypatch):
    monkeypatch.setattr(binding, "OLDEST", (9, 0))
    with pytest.raises(SpeechError, match=r"is espeak-ng 1\.5.* is needed: run `pip install"):
        binding.usable_library()


def test_data_that_is_missing_is_an_error(espeak, monkeypatch, tmp_path):
    monkeypatch.setattr(binding, "find_library", lambda: binding.Library(espeak.path, str(tmp_path)))
    with pytest.raises(SpeechError, match="finds no data in"):
        speak("Hello.", PAPA)


def test_unknown_voice_is_an_error(espeak):
    with pytest.raises(SpeechError, match="no voice gmw/klingon"):
        speak("Hello.", Voice("gmw/klingon", "en"))


@pytest.mark.parametrize("error", [MemoryError("full"), KeyboardInterrupt()])
def test_an_exception_in_the_callback_is_not_lost(espeak, monkeypatch, error):
    def fail(*_):
        raise error

    expected = digest("Hello.", PAPA)
    with monkeypatch.context() as patch:
        patch.setattr(binding._Collector, "collect", fail)
        with pytest.raises(type(error)):
            speak("Hello.", PAPA)
    assert digest("Hello.", PAPA) == expected


# --- Rooms


def test_room_never_clips_and_repeats(espeak):
    speech = speak("The baby blew a big bubble.", PAPA)
    for seed in range(30):
        heard = add_room(speech.samples, speech.sample_rate, random(seed))
        assert heard.dtype == np.float32 and heard.shape == speech.samples.shape
        assert 0.09 < np.abs(heard).max() < 0.96
        assert np.array_equal(heard, add_room(speech.samples, speech.sample_rate, random(seed)))


def test_room_keeps_the_time_of_the_sound():
    click = np.zeros(8000, np.float32)
    click[3000] = 1
    assert all(np.abs(add_room(click, 16000, random(seed))).argmax() == 3000 for seed in range(20))


def test_room_of_silence_is_noise():
    heard = add_room(silence(0.5).samples, SAMPLE_RATE, random())
    assert np.isfinite(heard).all() and heard.std() > 0.001
    assert len(add_room(np.zeros(0, np.float32), SAMPLE_RATE, random())) == 0
