# ruff: noqa: RUF001 (the letters of IPA look like others)
"""From phonemes to what the mouth does: visemes blended by dominance, with lips that really close.

Speech gestures overlap: each pulls the mouth towards its target with a dominance that falls exponentially with the
distance in time (Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993). Blending alone would
leave the lips apart in a quick p, so closures and tucked lips are intervals of their own, reached by smooth ramps.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from latentsync.synthetic.speech import SILENCE, Phoneme

#: jaw 0...1 dropped | wide -1...1 corners apart | pucker 0...1 | upper 0...1 upper lip raised | tuck 0...1 lower lip
#: under the upper teeth | press 0...1 lips together, 1 = closed whatever the jaw does | tongue 0...1 tip raised
PARAMETERS = ("jaw", "wide", "pucker", "upper", "tuck", "press", "tongue")
JAW, WIDE, PUCKER, UPPER, TUCK, PRESS, TONGUE = range(len(PARAMETERS))
REST = np.array([0, 0, 0, 0, 0, 0.2, 0])  # closed and relaxed

# Where espeak-ng's sounds have their closures; measured on the energy above 700 Hz of 480 sentences.
CLOSURE_S = 0.052  # of silence before the burst
MURMUR_S = 0.036  # a voiced stop after a vowel that is at least as long holds its closure itself,
BURST_S = 0.018  # until this long before its end
NASAL_RELEASE_S = 0.02  # lips part before an m ends
SHORTEST_S = 0.055  # more than one frame of 25 per second, and what a real p takes

RAMP_S = 0.065  # lips closing or parting
SHORTEST_GAP_S = 0.05  # lips cannot part and close again within less
ONSET_S, OFFSET_S = 0.16, 0.22  # from rest before the first sound, and back after the last one
REACH_S = 0.04  # the dominance falls to 1/e; equal for all, or the longest would rule the silence around them
CORE = 0.6  # share of a gesture over which it keeps its full dominance
ROUNDING_S = 0.01  # of the corners of the curves
VOWEL_STRESS = (0.85, 0.95, 1.1)  # on the jaw: none, secondary, primary


@dataclass(frozen=True)
class Viseme:
    """Targets, and how strongly they are pulled at."""

    jaw: float
    wide: float
    pucker: float
    upper: float
    tongue: float
    jaw_pull: float
    lip_pull: float  # of wide and pucker; consonants with a low one are spoken with the lips of their neighbours
    press: float = 0.0


VISEMES = {  # jaw, wide, pucker, upper, tongue | pulls of jaw and lips
    "PP": Viseme(0.05, 0.00, 0.05, 0.00, 0.0, 2.0, 0.3),
    "BB": Viseme(0.14, 0.00, 0.08, 0.02, 0.0, 1.6, 0.4, press=0.45),  # lips that nearly meet
    "FF": Viseme(0.13, 0.08, 0.00, 0.22, 0.0, 1.8, 0.8),
    "TH": Viseme(0.22, 0.10, 0.00, 0.16, 0.9, 1.2, 0.3),
    "DD": Viseme(0.20, 0.10, 0.00, 0.12, 0.7, 0.9, 0.2),
    "nn": Viseme(0.22, 0.10, 0.00, 0.10, 0.8, 0.8, 0.2),
    "kk": Viseme(0.28, 0.05, 0.00, 0.08, 0.0, 0.6, 0.1),
    "CH": Viseme(0.16, -0.35, 0.60, 0.40, 0.2, 1.4, 1.6),
    "SS": Viseme(0.09, 0.35, 0.00, 0.22, 0.4, 1.5, 0.7),
    "RR": Viseme(0.20, -0.25, 0.35, 0.12, 0.3, 0.9, 0.9),
    "aa": Viseme(1.00, 0.08, 0.00, 0.25, 0.0, 1.3, 0.9),
    "E": Viseme(0.55, 0.50, 0.00, 0.25, 0.1, 1.1, 1.0),
    "ih": Viseme(0.26, 0.75, 0.00, 0.20, 0.2, 1.0, 1.2),
    "oh": Viseme(0.62, -0.50, 0.65, 0.18, 0.0, 1.2, 1.3),
    "ou": Viseme(0.24, -0.85, 1.00, 0.12, 0.0, 1.2, 1.6),
    "ue": Viseme(0.24, -0.65, 0.90, 0.20, 0.2, 1.1, 1.5),
    "ax": Viseme(0.36, 0.06, 0.05, 0.10, 0.1, 0.6, 0.4),
}
SILENT = "sil"
VOWELS = frozenset({"aa", "E", "ih", "oh", "ou", "ue", "ax"})

LETTERS = {
    "PP": "pbmɓʙ",
    "BB": "βɸ",
    "FF": "fvɱʋ",
    "TH": "θð",
    "DD": "tdʈɖɾlɫɭʎɬ",
    "nn": "nɲɳ",
    "kk": "kɡgŋqɢxɣχhɦʔçħʕʁʀ",
    "CH": "ʃʒɕʑʂʐ",
    "SS": "sz",
    "RR": "rɹɻɚɝ",
    "aa": "aɑɐʌæɶ",
    "E": "eɛ",
    "ih": "iɪjɨʝᵻʲ",
    "oh": "oɔɒɤ",
    "ou": "uʊwʍɯʉ",
    "ue": "yʏøœɥɵ",
    "ax": "əɜɘɞ",
}
VISEME_OF = {letter: viseme for viseme, letters in LETTERS.items() for letter in letters}
STOPS = frozenset("pbtdkɡgqʈɖ")
VOICED_STOPS = frozenset("bdɡgɖ")
BILABIALS = frozenset("pbmɓ")
MURMUR_AFTER = {"l"} | {letter for letter, viseme in VISEME_OF.items() if viseme in VOWELS}


@dataclass(frozen=True)
class Gesture:
    viseme: str
    start_s: float
    end_s: float
    stress: int = 0
    closes: bool = False  # p, b or m


def gestures(phonemes: Iterable[Phoneme]) -> list[Gesture]:
    """What the mouth aims at, in order of time; stops last from the closing to the burst. None in pauses."""
    found: list[Gesture] = []
    for gesture in _spelt(phonemes):
        if found and gesture.start_s < found[-1].end_s:
            last = found.pop()
            end_s = max(last.start_s, gesture.start_s)
            found.append(Gesture(last.viseme, last.start_s, end_s, last.stress, last.closes))
        found.append(gesture)
    return found


def _spelt(phonemes: Iterable[Phoneme]) -> Iterator[Gesture]:
    """A gesture for each letter. Letters share their phoneme's time; marks and unknown letters get none."""
    before = ""
    for phoneme in phonemes:
        letters = [letter for letter in phoneme.symbol if letter in VISEME_OF]
        edges = np.linspace(phoneme.start_s, phoneme.end_s, len(letters) + 1).tolist()
        for letter, (start_s, end_s) in zip(letters, pairwise(edges), strict=True):
            if letter in STOPS or letter in BILABIALS:
                start_s, end_s = _closure(letter, start_s, end_s, before)
            yield Gesture(VISEME_OF[letter], start_s, end_s, phoneme.stress, letter in BILABIALS)
            before = letter
        if phoneme.symbol == SILENCE:
            before = ""


def _closure(letter: str, start_s: float, end_s: float, before: str) -> tuple[float, float]:
    """When the vocal tract is shut for a stop or an m."""
    if letter not in STOPS:
        end_s -= NASAL_RELEASE_S
    elif letter in VOICED_STOPS and before in MURMUR_AFTER and end_s - start_s >= MURMUR_S:
        end_s -= BURST_S
    else:
        start_s, end_s = start_s - CLOSURE_S, start_s
    return min(start_s, end_s - SHORTEST_S), end_s


def closed_intervals(phonemes: Iterable[Phoneme]) -> list[tuple[float, float]]:
    """(start_s, end_s) while a p, b or m holds the lips closed, in order; each is at least 55 ms long.

    Closures with less than 50 ms between them are one. The first may start before 0.
    """
    return _merged((g.start_s, g.end_s) for g in _spelt(phonemes) if g.closes)


def _merged(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """In order, with one in place of those between which the lips have no time to move away."""
    merged: list[tuple[float, float]] = []
    for start_s, end_s in sorted(intervals):
        if merged and start_s - merged[-1][1] < SHORTEST_GAP_S:
            start_s, last_end_s = merged.pop()
            end_s = max(end_s, last_end_s)
        merged.append((start_s, end_s))
    return merged


def mouth_track(phonemes: Sequence[Phoneme], times_s: np.ndarray, *, articulation: float = 1.0) -> np.ndarray:
    """PARAMETERS at those moments, (f, 7) float32: smooth functions of time, at rest in longer pauses.

    `articulation` 0.7...1.3 is how much a speaker moves the mouth; closures are complete with any.
    """
    times_s = np.asarray(times_s, dtype=np.float64)
    aims = gestures(phonemes)
    if not aims:
        return np.tile(REST, (len(times_s), 1)).astype(np.float32)
    track = _blend(aims, times_s)
    track[:, [JAW, WIDE, PUCKER, UPPER]] *= articulation
    track = REST + _speaking(phonemes, times_s)[:, None] * (track - REST)
    closed = _held(closed_intervals(phonemes), times_s)
    tucked = _held(_tucks(aims), times_s)
    track[:, PRESS] = 1 - (1 - track[:, PRESS]) * (1 - closed)
    track[:, TUCK] = tucked * (1 - closed)
    track[:, JAW] *= 1 - 0.8 * closed
    low = np.where(np.arange(len(PARAMETERS)) == WIDE, -1, 0)
    return np.clip(track, low, 1).astype(np.float32)


def _blend(aims: Sequence[Gesture], times_s: np.ndarray) -> np.ndarray:
    """Targets averaged by dominance, (f, 7)."""
    targets, pulls = (np.array(rows) for rows in zip(*map(_target_and_pull, aims), strict=True))
    middle = np.array([(aim.start_s + aim.end_s) / 2 for aim in aims])
    core = CORE * np.array([(aim.end_s - aim.start_s) / 2 for aim in aims])
    beyond = _rounded(np.hypot(times_s[:, None] - middle, ROUNDING_S) - core)
    exponent = -beyond / REACH_S
    dominance = np.exp(exponent - exponent.max(axis=1, keepdims=True))  # the ratio stays, and nothing underflows
    return (dominance @ (pulls * targets)) / (dominance @ pulls)


def _rounded(x: np.ndarray) -> np.ndarray:
    """max(x, 0) without its corner."""
    return (x + np.hypot(x, ROUNDING_S)) / 2


def _target_and_pull(aim: Gesture) -> tuple[list[float], list[float]]:
    """Both in the order of PARAMETERS."""
    v = VISEMES[aim.viseme]
    jaw = v.jaw * VOWEL_STRESS[aim.stress] if aim.viseme in VOWELS else v.jaw
    target = [jaw, v.wide, v.pucker, v.upper, 0.0, v.press, v.tongue]
    return target, [v.jaw_pull, v.lip_pull, v.lip_pull, v.jaw_pull, 1.0, v.jaw_pull, 1.0]


def _speaking(phonemes: Sequence[Phoneme], times_s: np.ndarray) -> np.ndarray:
    """0 at rest ... 1 while there is sound, (f,)."""
    resting = np.ones(len(times_s))
    for start_s, end_s in _runs(phonemes):
        rise = _smooth((times_s - start_s) / ONSET_S + 1)
        resting *= 1 - rise * _smooth((end_s - times_s) / OFFSET_S + 1)
    return 1 - resting


def _runs(phonemes: Sequence[Phoneme]) -> list[tuple[float, float]]:
    """From pause to pause."""
    runs: list[tuple[float, float]] = []
    for phoneme in phonemes:
        if phoneme.symbol == SILENCE:
            continue
        start_s = phoneme.start_s
        if runs and runs[-1][1] >= start_s:
            start_s = runs.pop()[0]
        runs.append((start_s, phoneme.end_s))
    return runs


def _tucks(aims: Iterable[Gesture]) -> list[tuple[float, float]]:
    """While an f or v holds the lower lip under the teeth."""
    margins = ((aim, 0.2 * (aim.end_s - aim.start_s)) for aim in aims if aim.viseme == "FF")
    return _merged((aim.start_s + margin, aim.end_s - margin) for aim, margin in margins)


def _held(intervals: Sequence[tuple[float, float]], times_s: np.ndarray) -> np.ndarray:
    """1 in the merged intervals, falling smoothly to 0 around each, (f,). Ramps share the gaps between them."""
    free = np.ones(len(times_s))
    if not intervals:
        return 1 - free
    gaps_s = [after[0] - before[1] for before, after in pairwise(intervals)]
    ramps_s = [RAMP_S, *(min(RAMP_S, gap_s / 2) for gap_s in gaps_s), RAMP_S]
    for (start_s, end_s), (closing_s, parting_s) in zip(intervals, pairwise(ramps_s), strict=True):
        held = _smooth((times_s - start_s) / closing_s + 1) * _smooth((end_s - times_s) / parting_s + 1)
        free *= 1 - held
    return 1 - free


def _smooth(x: np.ndarray) -> np.ndarray:
    """0 for x <= 0, 1 for x >= 1, and between them without a corner."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def opening(parameters: np.ndarray) -> np.ndarray:
    """The distance of the lips, 0 closed ... 1.2, of parameters (f, 7); (f,) as wide as an average a is 1."""
    jaw, _, pucker, upper, tuck, press, _ = np.moveaxis(np.asarray(parameters), -1, 0)
    parted = 1.1 * jaw * (1 - 0.25 * pucker) + 0.12 * upper
    return np.clip(parted * (1 - 0.85 * tuck) * (1 - press), 0, 1.2)


def viseme_at(phonemes: Sequence[Phoneme], times_s: np.ndarray) -> list[str]:
    """The viseme under way at each moment: a key of VISEMES, or "sil" in pauses."""
    aims = gestures(phonemes)
    closed = closed_intervals(phonemes)
    runs = _runs(phonemes)
    names = []
    for time_s in np.asarray(times_s, dtype=np.float64).tolist():
        if _within(closed, time_s):
            names.append("PP")
        elif not _within(runs, time_s):
            names.append(SILENT)
        else:  # the aspiration after a burst belongs to what follows
            names.append(next((aim.viseme for aim in aims if time_s < aim.end_s), aims[-1].viseme))
    return names


def _within(intervals: Iterable[tuple[float, float]], time_s: float) -> bool:
    return any(start_s <= time_s < end_s for start_s, end_s in intervals)
