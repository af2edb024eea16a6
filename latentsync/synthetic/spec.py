"""What a synthetic clip shows and says: a value that can be kept in a file and determines every pixel and sample."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any

from ..errors import ConfigError
from .motion import Span
from .seeds import derived

OCCLUDERS = ("hand", "microphone")
ABSENCES = ("leaves", "empty")
_MOST_PEOPLE = 2

_BROADCAST = {Fraction(f"{rate}.{digits}"): Fraction(rate * 1000 + 1000, 1001)
              for rate, digits in ((23, "976"), (29, "97"), (59, "94"))}  # fmt: skip


def parse_fps(text: str | Fraction) -> Fraction:
    """Frames per second: 25, 23.976 (which means 24000/1001), 30000/1001. Raises ConfigError."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 1 <= rate <= 240:
        raise ConfigError(f"expected a frame rate from 1 to 240, such as 25 or 30000/1001, got {text}")
    return _BROADCAST.get(rate, rate)


@dataclass(frozen=True)
class Occlusion:
    """Something in front of the first person's mouth; it comes when the span begins and is gone when it ends."""

    what: str  # one of OCCLUDERS
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Absence:
    """A span without a face."""

    start_s: float
    end_s: float
    how: str = "leaves"  # the people walk out before and back after; or "empty": they are gone from one frame on


@dataclass(frozen=True)
class ClipSpec:
    """One clip. Times in seconds of the clip, lengths in pixels of its frames.

    Identities, sentences and voices have seeds of their own, so that sets can be split by each of them. They count
    the people of the first shot from left to right, then those of the second; after the people's sentences come those
    of the counterfactual, and so do voices, which without any are the same. What is not given follows from `seed`.

    Raises ConfigError for values that are out of range or do not go together.
    """

    seed: int  # of everything that has no seed of its own: movements, framing, scenery, noise
    identities: tuple[int, ...] = ()
    sentences: tuple[int, ...] = ()
    voices: tuple[int, ...] = ()

    seconds: float | None = None  # None: as long as the text
    text: str | None = None  # what the subject says; None: random sentences
    language: str | None = None  # None: any
    variants: tuple[str, ...] = ()  # the timbres that voices are drawn from; none: all
    voice: str | None = None  # the subject's, by its full name, with a pace that follows from the seed
    mute: bool = False  # nobody speaks
    lead_s: float = 0.0  # silence before the first word
    trail_s: float = 0.0  # and after the last one
    room: bool = True  # echoes and noise; else the voices alone
    audio_offset: int = 0  # frames; positive: the sound is early

    fps: Fraction = Fraction(25)
    width: int = 512
    height: int = 512
    people: int = 1  # side by side
    both_speak: bool = False  # else only one of two
    amplitude: float = 1.0  # of the heads' movements
    profile: Span | None = None  # the heads are turned to the side
    absences: tuple[Absence, ...] = ()
    cut_s: float | None = None  # from here on another scene with other people, who go on with the speech
    occlusion: Occlusion | None = None
    shake: float = 0.0  # of the camera, heights of the picture
    zoom: float = 0.0  # its deviation, as a share of the size
    camera: bool = True  # a random lens and sensor; else the picture as it is drawn
    blur: float | None = None  # instead of the lens's: standard deviation, pixels of a frame of 512
    noise: float | None = None  # instead of the sensor's: standard deviation in grey levels
    crf: int = 18

    aligned: int | None = None  # only the speaker's face is written, aligned, as a square of so many pixels
    counterfactual: bool = False  # a second clip differs in nothing but the sentence: the sound and the mouth

    def __post_init__(self) -> None:
        for ok, expected, got in (
            (self.seconds is None or 0 < self.seconds <= 3600, "seconds from 0 to 3600", self.seconds),
            (min(self.lead_s, self.trail_s) >= 0, "silences of 0 s or more", (self.lead_s, self.trail_s)),
            (16 <= self.width <= 8192 and 16 <= self.height <= 8192, "sides of 16 to 8192 pixels", self._size),
            (1 <= self.people <= _MOST_PEOPLE, f"1 to {_MOST_PEOPLE} people", self.people),
            (self.people == 2 or not self.both_speak, "two people where both speak", self.people),
            (0 <= self.amplitude <= 10, "an amplitude from 0 to 10", self.amplitude),
            (0 <= self.shake <= 0.2, "a shake from 0 to 0.2", self.shake),
            (0 <= self.zoom <= 0.5, "a zoom from 0 to 0.5", self.zoom),
            (0 <= (self.blur or 0) <= 50, "a blur from 0 to 50 pixels", self.blur),
            (0 <= (self.noise or 0) <= 50, "noise from 0 to 50 grey levels", self.noise),
            (0 <= self.crf <= 51, "a crf from 0 to 51", self.crf),
            (self.aligned is None or 16 <= self.aligned <= 2048, "a square of 16 to 2048 pixels", self.aligned),
            (not (self.aligned and self.absences), "a face in every frame of an aligned clip", self.absences),
            (self.seconds is not None or self.text is not None, "seconds where no text is given", self.seconds),
            (not (self.mute and self.text), "no text where nobody speaks", self.text),
            (self.text is None or self.text.strip(), "a text with words", self.text),
            (self.occlusion is None or self.occlusion.what in OCCLUDERS, " or ".join(OCCLUDERS), self.occlusion),
            (all(a.how in ABSENCES for a in self.absences), " or ".join(ABSENCES), self.absences),
            (all(a < b for a, b in self._spans), "spans that end after they start", self._spans),
        ):
            if not ok:
                raise ConfigError(f"a clip cannot be made: expected {expected}, got {got}")

    @property
    def _size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def _spans(self) -> list[Span]:
        parts = [*self.absences, *([self.occlusion] if self.occlusion else [])]
        return [(part.start_s, part.end_s) for part in parts] + ([self.profile] if self.profile else [])

    @property
    def shots(self) -> int:
        return 1 if self.cut_s is None else 2

    @property
    def speakers(self) -> tuple[int, ...]:
        """Who speaks, counted from the left in each shot."""
        if self.mute:
            return ()
        if self.both_speak:
            return tuple(range(self.people))
        return (derived(self.seed, "speaker") % self.people,)

    @property
    def subject(self) -> int:
        """Who speaks the text, and whom an aligned clip shows."""
        return self.speakers[0] if self.speakers else 0

    def identity(self, shot: int, person: int) -> int:
        return self._seed("identities", shot * self.people + person)

    def voice_seed(self, person: int, *, other: bool = False) -> int:
        """The seed of a person's voice; in the counterfactual another one only where it is given."""
        has_another = other and person + self.people < len(self.voices)
        return self._seed("voices", person + (self.people if has_another else 0))

    def sentence(self, person: int, *, other: bool = False) -> int:
        """The seed of what a person says, or says in the counterfactual."""
        return self._seed("sentences", person + (self.people if other else 0))

    def _seed(self, name: str, i: int) -> int:
        given = getattr(self, name)
        return given[i] if i < len(given) else derived(self.seed, name, i)

    def to_json(self) -> dict[str, Any]:
        """The values as JSON has them."""
        return {
            name: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Fraction) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ClipSpec":
        """The inverse of `to_json`. Raises ConfigError for names that are not known."""
        values = dict(content)
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(f"a clip's specification has unknown names: {', '.join(sorted(unknown))}; correct them")
        for name in ("identities", "sentences", "voices", "variants", "profile"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        if values.get("fps") is not None:
            values["fps"] = parse_fps(values["fps"])
        if values.get("occlusion") is not None:
            values["occlusion"] = Occlusion(**values["occlusion"])
        values["absences"] = tuple(Absence(**absence) for absence in values.get("absences", ()))
        return cls(**values)
