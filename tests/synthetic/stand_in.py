"""A studio of drawn ellipses that hum: clips in milliseconds, with the truth as exact as that of the real one."""

import math

import cv2
import numpy as np

from latentsync.face.detect import LEFT_BROW, NOSE, RIGHT_BROW
from latentsync.synthetic.mouth import opening
from latentsync.synthetic.occluder import Occluder
from latentsync.synthetic.pose import FaceTruth, Pose
from latentsync.synthetic.seeds import stream
from latentsync.synthetic.speech import Phoneme, Speech, Voice
from latentsync.synthetic.studio import Studio

SAMPLE_RATE = 22050
SYLLABLE_S = 0.32
VOWELS = {"a": "æ", "i": "i", "u": "u"}
HERTZ = {"a": 180, "i": 240, "u": 310}


class Canvas:
    def __init__(self, width: int, height: int, view: np.ndarray | None = None) -> None:
        self.width, self.height = width, height
        self.view = np.eye(2, 3) if view is None else view

    def clear(self, background: np.ndarray) -> None:
        size = (self.width, self.height)
        self.image = cv2.warpAffine(background, self.view, size, borderMode=cv2.BORDER_REPLICATE)

    def picture(self) -> np.ndarray:
        return self.image.copy()

    def fill(self, points: np.ndarray, colour: tuple[int, ...]) -> None:
        """A polygon (n, 2) in frame pixels."""
        mapped = np.column_stack([points, np.ones(len(points))]) @ self.view.T
        cv2.fillPoly(self.image, [np.round(mapped * 256).astype(np.int32)], colour, cv2.LINE_AA, shift=8)


class Head:
    """An ellipse with brows, nose and a mouth that opens."""

    def __init__(self, seed: int) -> None:
        self.colour = tuple(stream(seed, "colour").integers(90, 220, 3).tolist())
        if seed == 13:
            raise RuntimeError("this person stays at home")

    def truth(self, mouth: np.ndarray, pose: Pose) -> FaceTruth:
        gap, width = float(opening(mouth[None])[0]) * 0.1, 0.3 + 0.05 * float(mouth[1])
        points = np.zeros((468, 2))
        points[:] = _circle(468) * (0.36, 0.5)
        points[list(LEFT_BROW)] = np.linspace((-0.25, -0.2), (-0.08, -0.2), 5)
        points[list(RIGHT_BROW)] = np.linspace((0.08, -0.2), (0.25, -0.2), 5)
        points[list(NOSE)] = (0.0, 0.05)
        points[[13, 14]] = (0, 0.28 - gap / 2), (0, 0.28 + gap / 2)
        points[[61, 291]] = (-width / 2, 0.28), (width / 2, 0.28)
        eye = 0.06 * (1 - pose.blink) * pose.size
        landmarks = _placed(points, pose).astype(np.float32)
        return FaceTruth(landmarks, gap * pose.size, width * pose.size, eye)

    def draw(self, canvas: Canvas, mouth: np.ndarray, pose: Pose) -> FaceTruth:
        truth = self.truth(mouth, pose)
        canvas.fill(_placed(_circle(60) * (0.36, 0.5), pose), self.colour)
        for side in (-0.16, 0.16):
            canvas.fill(
                _placed(_circle(24) * (0.06, 0.001 + 0.03 * (1 - pose.blink)) + (side, -0.1), pose), (20, 20, 20)
            )
        lips = _circle(40) * (truth.mouth_width / 2, truth.lip_gap / 2 + 0.5) / pose.size + (0, 0.28)
        canvas.fill(_placed(lips, pose), (60, 10, 10))
        return truth


def _circle(n: int) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.column_stack([np.cos(angles), np.sin(angles)])


def _placed(points: np.ndarray, pose: Pose) -> np.ndarray:
    """From sizes of the face, right and down from its middle, to frame pixels."""
    squeezed = points * (math.cos(pose.yaw), math.cos(pose.pitch))
    squeezed += (0.2 * math.sin(pose.yaw), -0.2 * math.sin(pose.pitch))
    cos, sin = math.cos(pose.roll), math.sin(pose.roll)
    return squeezed @ np.array([[cos, sin], [-sin, cos]]) * pose.size + (pose.x, pose.y)


def background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    coarse = rng.integers(40, 200, (4, 4, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def occluder(what: str, rng: np.random.Generator, head: Head) -> Occluder:
    sprite = np.zeros((80, 40, 4), np.float32)
    sprite[2:-2, 2:-2] = (0.1, 0.8, 0.1, 1.0)
    return Occluder(sprite, (20.0, 20.0), 80.0)


def speak(text: str, voice: Voice) -> Speech:
    """Syllables of a p and a vowel: silence while the lips are closed, then a hum."""
    vowels = [letter for letter in text if letter in VOWELS]
    n = round(SYLLABLE_S * SAMPLE_RATE)
    times_s = np.arange(n) / SAMPLE_RATE
    samples, phonemes = [], []
    for i, letter in enumerate(vowels):
        start_s, burst_s = i * SYLLABLE_S, i * SYLLABLE_S + 0.1
        hum = 0.4 * np.sin(2 * np.pi * HERTZ[letter] * times_s) * (times_s > 0.1)
        samples.append(hum * np.clip((SYLLABLE_S - times_s) / 0.02, 0, 1))
        phonemes += [
            Phoneme("p", start_s + 0.06, burst_s),
            Phoneme(VOWELS[letter], burst_s, start_s + SYLLABLE_S, 2 * (i % 3 == 0)),
        ]
    return Speech(np.concatenate(samples).astype(np.float32), SAMPLE_RATE, tuple(phonemes), text, voice)


def sentence(rng: np.random.Generator, language: str) -> str:
    return "".join(rng.choice(list(VOWELS), 6))


STUDIO = Studio(Head, Canvas, background, occluder, sentence, speak)
