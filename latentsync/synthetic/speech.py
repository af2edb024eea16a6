"""Synthesised speech: samples, and what is said when. Times in seconds from the first sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from latentsync.errors import SpeechError
from latentsync.synthetic.espeak import synthesise, usable_library
from latentsync.synthetic.sentences import LANGUAGES, random_sentence

SAMPLE_RATE = 22050  # of every voice of espeak-ng
SILENCE = "_"  # the symbol of a pause
STRESS_MARKS = {"\N{MODIFIER LETTER LOW VERTICAL LINE}": 1, "\N{MODIFIER LETTER VERTICAL LINE}": 2}

ACCENTS = {
    "en": ("gmw/en", "gmw/en-US", "gmw/en-GB-scotland", "gmw/en-GB-x-rp", "gmw/en-GB-x-gbclan"),
    "es": ("roa/es", "roa/es-419"),
    "de": ("gmw/de",),
    "fr": ("roa/fr", "roa/fr-BE", "roa/fr-CH"),
    "cmn": ("sit/cmn-Latn-pinyin",),  # the other Mandarin voice reads no pinyin
}
# Of the hundred variants, those that sound like people and stay below full scale.
FEMALE = ("f1", "f2", "f3", "f4", "f5", "Alicia", "Annie", "aunty", "belinda", "linda", "shelby", "steph")
MALE = ("m1", "m2", "m3", "m4", "m6", "m7", "Alex", "Mario", "david", "edward", "quincy", "robert")
VARIANTS = FEMALE + MALE  # a variant sounds alike in all languages: split data sets by it
# Spoken where they are named, never drawn otherwise: what a seed says stays as it is.
MORE_VARIANTS = (
    *("Andrea", "anika", "grandma", "zac", "Denis", "Diogo", "Hugo", "Lee", "Marco", "Michael", "Mike", "Nguyen"),
    *("adam", "antonio", "benjamin", "boris", "croak", "gustave", "ian", "iven3", "kaukovalta", "klatt", "klatt3"),
    *("m5", "m8", "marcelo", "max", "miguel", "norbert", "pablo", "pedro", "travis", "victor"),
)
ALL_VARIANTS = VARIANTS + MORE_VARIANTS
VOICES = {
    language: tuple(f"{accent}+{variant}" for accent in accents for variant in ALL_VARIANTS)
    for language, accents in ACCENTS.items()
}

LEAD_S = (0.15, 0.45)  # silence before the first sentence: room for the lips to close before a first p
PAUSE_S = (0.15, 0.9)
SHORTEST_SENTENCE_S = 0.8
ATTEMPTS = 8  # sentences tried for what is left of a duration


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how: words per minute (80...450), pitch and its range (0...100, 50 is the voice's own)."""

    name: str  # one of VOICES[language]; espeak-ng's file and variant
    language: str
    rate: int = 160
    pitch: int = 50
    pitch_range: int = 50

    @property
    def variant(self) -> str:
        """The identity, one of ALL_VARIANTS."""
        return self.name.partition("+")[2]


@dataclass(frozen=True)
class Phoneme:
    """A sound of speech.

    A p, t or k starts with its burst, and its closure lies before that; so do b, d and g except after vowels and l,
    where they start with their closure.
    """

    symbol: str  # IPA without stress marks; several letters for diphthongs and affricates; SILENCE
    start_s: float
    end_s: float
    stress: int = 0  # 1: secondary, 2: primary


@dataclass(frozen=True, eq=False)
class Speech:
    """`samples` is (n,) float32 in [-1, 1]; the phonemes cover all of it without gaps."""

    samples: np.ndarray
    sample_rate: int
    phonemes: tuple[Phoneme, ...]
    text: str
    voice: Voice | None  # None for silence

    @property
    def language(self) -> str:
        return self.voice.language if self.voice else ""

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


def is_available() -> bool:
    """Whether this machine has an espeak-ng library that can be used."""
    try:
        usable_library()
    except SpeechError:
        return False
    return True


def random_voice(rng: np.random.Generator, language: str | None = None, *, variants: Sequence[str] = VARIANTS) -> Voice:
    """A voice with its pace and pitch, of any language or of the given one. Raises ValueError for an unknown one."""
    language = LANGUAGES[int(rng.integers(len(LANGUAGES)))] if language is None else language
    if language not in ACCENTS:
        raise ValueError(f"expected one of {', '.join(ACCENTS)}, got {language!r}")
    accent = ACCENTS[language][int(rng.integers(len(ACCENTS[language])))]
    variant = variants[int(rng.integers(len(variants)))]
    rate, pitch, pitch_range = (int(rng.integers(*bounds)) for bounds in ((130, 196), (30, 71), (30, 81)))
    return Voice(f"{accent}+{variant}", language, rate, pitch, pitch_range)


def speak(text: str, voice: Voice) -> Speech:
    """The same text and voice give the same samples, whatever was spoken before. Raises SpeechError."""
    said = synthesise(text, voice=voice.name, rate=voice.rate, pitch=voice.pitch, pitch_range=voice.pitch_range)
    samples = said.samples.astype(np.float32) / 32768
    phonemes = tuple(_phonemes(said.phonemes, len(samples), said.sample_rate))
    return Speech(samples, said.sample_rate, phonemes, text, voice)


def _phonemes(events: Sequence[tuple[int, str]], length: int, sample_rate: int) -> Iterator[Phoneme]:
    """Phonemes that end where the next one begins; pauses in a row become one."""
    sounds = [(0, "")]
    for position, symbol in events:
        switches_language = symbol.startswith("(")
        if not switches_language and (symbol or sounds[-1][1]):
            sounds.append((min(position, length), symbol))
    for (start, symbol), (end, _) in pairwise([*sounds, (length, "")]):
        if end > start:
            stress = max((STRESS_MARKS.get(letter, 0) for letter in symbol), default=0)
            yield Phoneme(
                symbol.strip("".join(STRESS_MARKS)) or SILENCE, start / sample_rate, end / sample_rate, stress
            )


def silence(duration_s: float, sample_rate: int = SAMPLE_RATE) -> Speech:
    samples = np.zeros(round(duration_s * sample_rate), np.float32)
    length_s = len(samples) / sample_rate
    return Speech(samples, sample_rate, (Phoneme(SILENCE, 0.0, length_s),) if length_s else (), "", None)


def join(parts: Sequence[Speech]) -> Speech:
    """One after the other; the voice is that of the first part that has one. Raises ValueError."""
    rates = {part.sample_rate for part in parts}
    if len(rates) != 1:
        raise ValueError(f"expected parts of one sample rate, got {sorted(rates)}")
    phonemes: list[Phoneme] = []
    start = 0
    for part in parts:
        offset_s = start / part.sample_rate
        phonemes += [Phoneme(p.symbol, p.start_s + offset_s, p.end_s + offset_s, p.stress) for p in part.phonemes]
        start += len(part.samples)
    text = " ".join(part.text for part in parts if part.text)
    voice = next((part.voice for part in parts if part.voice), None)
    return Speech(np.concatenate([part.samples for part in parts]), rates.pop(), tuple(phonemes), text, voice)


def pad(speech: Speech, before_s: float, after_s: float) -> Speech:
    """With silence around it."""
    return join([silence(before_s, speech.sample_rate), speech, silence(after_s, speech.sample_rate)])


def random_speech(rng: np.random.Generator, voice: Voice, duration_s: float) -> Speech:
    """Random sentences with pauses between them, round(duration_s * 22050) samples long. Raises SpeechError.

    Silence fills what no further sentence fits into.
    """
    parts = [silence(min(rng.uniform(*LEAD_S), duration_s))]
    left_s = duration_s - parts[0].duration_s
    while left_s > SHORTEST_SENTENCE_S:
        sentence = _sentence_within(rng, voice, left_s)
        if sentence is None:
            break
        pause = silence(rng.uniform(*PAUSE_S))
        parts += [sentence, pause]
        left_s -= sentence.duration_s + pause.duration_s
    return _fit(join(parts), round(duration_s * SAMPLE_RATE))


def _sentence_within(rng: np.random.Generator, voice: Voice, longest_s: float) -> Speech | None:
    for _ in range(ATTEMPTS):
        sentence = speak(random_sentence(rng, voice.language), voice)
        if sentence.duration_s <= longest_s:
            return sentence
    return None


def _fit(speech: Speech, length: int) -> Speech:
    """Exactly `length` samples: silence is added, or cut off the pause at the end."""
    missing = length - len(speech.samples)
    if missing >= 0:
        return pad(speech, 0, missing / speech.sample_rate)
    end_s = length / speech.sample_rate
    kept = tuple(
        Phoneme(p.symbol, p.start_s, min(p.end_s, end_s), p.stress) for p in speech.phonemes if p.start_s < end_s
    )
    return Speech(speech.samples[:length], speech.sample_rate, kept, speech.text, speech.voice)
