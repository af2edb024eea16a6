"""What clips are made of: heads, something to draw on, scenery and speech. Tests bring light ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .background import background
from .canvas import Canvas
from .head import TalkingHead
from .occluder import Occluder, make_occluder
from .pose import FaceTruth, Pose
from .sentences import random_sentence
from .speech import Speech, Voice, speak
from .srgb import encode


class AnyCanvas(Protocol):
    """Pictures of one size, drawn at any resolution."""

    def clear(self, background: np.ndarray) -> None:
        """Begin a picture on a (h, w, 3) uint8 RGB background of the frame's size."""
        ...

    def picture(self) -> np.ndarray:
        """What has been drawn, (height, width, 3) uint8 RGB."""
        ...


class AnyHead(Protocol):
    """One person."""

    def truth(self, mouth: np.ndarray, pose: Pose) -> FaceTruth:
        """What `draw` would show with the mouth's parameters (7,) float32."""
        ...

    def draw(self, canvas: Any, mouth: np.ndarray, pose: Pose) -> FaceTruth:
        """Draw the person in front of what the canvas shows."""
        ...


@dataclass(frozen=True)
class Studio:
    """Where everything comes from. Its parts are importable functions, so that it travels to other processes."""

    head: Callable[[int], AnyHead]  # from the seed of the identity
    canvas: Callable[..., AnyCanvas]  # width, height, view (2, 3) from frame pixels to the canvas's or None
    background: Callable[[np.random.Generator, int, int], np.ndarray]  # width, height -> (h, w, 3) uint8 RGB
    occluder: Callable[[str, np.random.Generator, Any], Occluder]  # what; the head lends its skin's colour
    sentence: Callable[[np.random.Generator, str], str]  # in a language
    speak: Callable[[str, Voice], Speech]


_KINDS = {"hand": "hand", "microphone": "handheld microphone"}


def real_studio() -> Studio:
    """Rendered people who speak with espeak-ng's voices."""
    return Studio(TalkingHead, Canvas, background, _occluder, random_sentence, speak)


def _occluder(what: str, rng: np.random.Generator, head: TalkingHead) -> Occluder:
    return make_occluder(_KINDS[what], rng, (255 * encode(head.identity.skin)).round())
