"""A clip of drawn people who speak: its frames with what is true of them, one at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import ceil, exp, sqrt

import cv2
import numpy as np

from ..face.warp import shifted
from .aligned import views
from .camera import REFERENCE_SIDE, Camera, random_camera
from .motion import CameraMotion, Framing, HeadMotion, seen_through
from .mouth import mouth_track
from .occluder import Occluder, Track, paste, track
from .pose import FaceTruth, Pose
from .seeds import derived, stream
from .soundtrack import sound_of, spoken_s, words_of
from .spec import ClipSpec
from .speech import Speech
from .studio import AnyHead, Studio, real_studio

_MOUTH = 13, 14  # landmarks of the inner lips' middle


@dataclass(frozen=True)
class FaceState:
    """One person in one frame; in frame pixels, also where the picture is an aligned square."""

    pose: Pose
    mouth: np.ndarray  # (7,) float32, the parameters
    truth: FaceTruth
    visible: float  # share of the landmarks' box within the frame; 0 where the person is not drawn

    @property
    def box(self) -> np.ndarray:
        """x0 y0 x1 y1 around the landmarks, (4,) float32."""
        return np.concatenate([self.truth.landmarks.min(axis=0), self.truth.landmarks.max(axis=0)])


@dataclass(frozen=True)
class ClipFrame:
    """One frame with its truth."""

    index: int
    shot: int
    picture: np.ndarray  # (h, w, 3) uint8 RGB: the frame, or the aligned square
    view: np.ndarray | None  # (2, 3) float64 from frame pixels to the square's; None: the picture is the frame
    faces: tuple[FaceState, ...]  # the shot's people from left to right


class Shot:
    """What stays the same between two cuts."""

    def __init__(self, spec: ClipSpec, number: int, studio: Studio, beats: Sequence[Sequence[float]]) -> None:
        self._spec = spec
        seed = derived(spec.seed, "shot", number)
        self.heads: list[AnyHead] = [studio.head(spec.identity(number, person)) for person in range(spec.people)]
        self.framings = _framings(spec, stream(seed, "framing"))
        self._motions = [
            HeadMotion(
                derived(seed, "motion", person),
                amplitude=spec.amplitude,
                beats=beats[person],
                profile=spec.profile,
                away=[(a.start_s, a.end_s) for a in spec.absences if a.how == "leaves"],
            )
            for person in range(spec.people)
        ]
        self._camera = CameraMotion(derived(seed, "camera"), shake=spec.shake, zoom=spec.zoom)
        self._margin = _margin(spec)
        width, height = (side + 2 * self._margin for side in (spec.width, spec.height))
        self._background = studio.background(stream(seed, "background"), width, height)

    def camera(self, time_s: float) -> np.ndarray | None:
        """The map (2, 3) from a still camera's pixels, None for a still one."""
        return None if self._camera.still else self._camera.matrix(time_s, self._spec.width, self._spec.height)

    def pose(self, person: int, time_s: float) -> Pose:
        pose = self._motions[person].pose(time_s, self.framings[person])
        camera = self.camera(time_s)
        return pose if camera is None else seen_through(pose, camera)

    def background(self, time_s: float) -> np.ndarray:
        """The scene behind the people, (h, w, 3) uint8 RGB."""
        camera = self.camera(time_s)
        if camera is None:
            return self._background
        matrix = shifted(camera, -self._margin, -self._margin)
        size = self._spec.width, self._spec.height
        return cv2.warpAffine(self._background, matrix, size, borderMode=cv2.BORDER_REFLECT)


class Clip:
    """A clip and, where its specification asks for one, its counterfactual; frames are drawn while they are taken."""

    def __init__(self, spec: ClipSpec, studio: Studio | None = None) -> None:
        self.spec = spec
        self._studio = studio or real_studio()
        if spec.seconds is not None:
            self.n_frames = max(1, round(Fraction(spec.seconds) * spec.fps))
        else:
            self.n_frames = ceil(spoken_s(spec, self._studio) * spec.fps)
        self._words = {
            other: words_of(spec, self._studio, self.n_frames, other=other) for other in {False, spec.counterfactual}
        }
        self.times_s = (np.arange(self.n_frames) + 0.5) / float(spec.fps)  # the middle of each frame's exposure
        self.cut = self.n_frames  # the second shot's first frame
        if spec.cut_s is not None:
            self.cut = min(max(round(spec.cut_s * spec.fps), 0), self.n_frames)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        return (self.spec.aligned,) * 2 if self.spec.aligned else (self.spec.width, self.spec.height)

    def words(self, person: int, *, other: bool = False) -> Speech | None:
        """What a person says, None for a silent one."""
        return self._words[other].get(person)

    def sound(self, *, other: bool = False) -> tuple[np.ndarray, int]:
        """The samples (n,) float32 in [-1, 1] that belong to the frames, and their rate."""
        return sound_of(list(self._words[other].values()), spec=self.spec, n_frames=self.n_frames)

    def shot_of(self, index: int) -> int:
        return int(index >= self.cut)

    def frames(self, *, other: bool = False) -> Iterator[ClipFrame]:
        """The clip's frames in order; with `other` the counterfactual's, which differ in the mouths alone."""
        mouths = [self._mouths(person, other=other) for person in range(self.spec.people)]
        width, height = self.size
        canvas = None
        seen = self._views() if self.spec.aligned else (None for _ in range(self.n_frames))
        for index, view in enumerate(seen):
            number = self.shot_of(index)
            shot = self._shots[number]
            if canvas is None or view is not None:
                canvas = self._studio.canvas(width, height, view)
            canvas.clear(shot.background(self.times_s[index]))
            faces = tuple(
                self._draw(canvas, number, person, index, mouths[person][index]) for person in range(self.spec.people)
            )
            picture = canvas.picture()
            if self.spec.occlusion and number == 0:
                self._occlude(picture, index, view)
            yield ClipFrame(index, number, self._exposed(picture, index, view), view, faces)

    @cached_property
    def _shots(self) -> list[Shot]:
        beats = [_stressed(self.words(person)) for person in range(self.spec.people)]
        return [Shot(self.spec, number, self._studio, beats) for number in range(self.spec.shots)]

    def _mouths(self, person: int, *, other: bool) -> np.ndarray:
        """The mouth's parameters (f, 7) float32; of a silent person those of silence."""
        words = self.words(person, other=other)
        return mouth_track(words.phonemes if words else (), self.times_s)

    @cached_property
    def _rest(self) -> np.ndarray:
        return mouth_track((), self.times_s[:1])[0]

    def _views(self) -> Iterator[np.ndarray]:
        """Of each frame; with the mouth at rest, so that counterfactuals share them to the last bit."""
        person = self.spec.subject

        def faces() -> Iterator[tuple[int, FaceTruth, Pose]]:
            for index, time_s in enumerate(self.times_s):
                number = self.shot_of(index)
                pose = self._shots[number].pose(person, time_s)
                yield number, self._shots[number].heads[person].truth(self._rest, pose), pose

        return views(faces(), self.spec.fps, self.spec.aligned)

    def _draw(self, canvas, number: int, person: int, index: int, mouth: np.ndarray) -> FaceState:
        shot, time_s = self._shots[number], self.times_s[index]
        pose = shot.pose(person, time_s)
        if any(a.how == "empty" and a.start_s <= time_s < a.end_s for a in self.spec.absences):  # not drawn
            return FaceState(pose, mouth, shot.heads[person].truth(mouth, pose), 0.0)
        truth = shot.heads[person].draw(canvas, mouth, pose)
        return FaceState(pose, mouth, truth, _inside(truth.landmarks, self.spec.width, self.spec.height))

    @cached_property
    def _occluder(self) -> tuple[Occluder, Track]:
        """What comes in front of the first shot's mouth, and how it moves."""
        occlusion, rng = self.spec.occlusion, stream(self.spec.seed, "occluder")
        head = self._shots[0].heads[self.spec.subject]
        return self._studio.occluder(occlusion.what, rng, head), track(rng, occlusion.start_s, occlusion.end_s)

    def _occlude(self, picture: np.ndarray, index: int, view: np.ndarray | None) -> None:
        """Draw what is in front of the mouth, in place."""
        occluder, movement = self._occluder
        place = movement.at(self.times_s[index])
        if place is None:
            return
        pose = self._shots[0].pose(self.spec.subject, self.times_s[index])
        # At rest, so that it does not move with the words and counterfactuals share it.
        truth = self._shots[0].heads[self.spec.subject].truth(self._rest, pose)
        x, y = truth.landmarks[list(_MOUTH)].mean(axis=0) + pose.size * np.array([place.x, place.y])
        paste(picture, occluder, float(x), float(y), pose.size, place.angle, view)

    @cached_property
    def _camera(self) -> Camera:
        rng, spec = stream(self.spec.seed, "camera"), self.spec
        camera = random_camera(rng) if spec.camera else Camera(seed=int(rng.integers(1 << 31)))
        given = {name: value for name in ("blur", "noise") if (value := getattr(spec, name)) is not None}
        return replace(camera, **given)

    def _exposed(self, picture: np.ndarray, index: int, view: np.ndarray | None) -> np.ndarray:
        """The picture as a lens and a sensor give it."""
        if view is None:
            return self._camera.expose(picture, index)
        magnified = sqrt(abs(np.linalg.det(view[:, :2])))
        side = min(self.spec.width, self.spec.height)
        return self._camera.expose(picture, index, zoom=magnified * side / REFERENCE_SIDE)


def frames(spec: ClipSpec, studio: Studio | None = None, *, other: bool = False) -> Iterator[ClipFrame]:
    """The frames of the clip that a specification describes, in order."""
    return Clip(spec, studio).frames(other=other)


def _framings(spec: ClipSpec, rng: np.random.Generator) -> list[Framing]:
    """Where each person's face lies."""
    if spec.people == 1:
        size = rng.uniform(0.36, 0.52) * min(spec.height, spec.width)
        centres = [0.5 + rng.uniform(-0.08, 0.08)]
    else:
        size = rng.uniform(0.8, 1.0) * min(0.3 * spec.width, 0.45 * spec.height)
        centres = [0.27 + rng.uniform(-0.02, 0.02), 0.73 + rng.uniform(-0.02, 0.02)]
    return [
        Framing(
            spec.width * centre,
            spec.height * rng.uniform(0.44, 0.52),
            size * rng.uniform(0.95, 1.05),
            spec.width,
        )
        for centre in centres
    ]


def _margin(spec: ClipSpec) -> int:
    """Pixels that the scene needs beyond the frame, so that a moving camera rarely sees its end."""
    return ceil(3 * spec.shake * spec.height + max(spec.width, spec.height) / 2 * (exp(2 * spec.zoom) - 1))


def _stressed(words: Speech | None) -> list[float]:
    """Moments of stressed syllables."""
    return [phoneme.start_s for phoneme in words.phonemes if phoneme.stress == 2] if words else []


def _inside(landmarks: np.ndarray, width: int, height: int) -> float:
    """The share of the box around the landmarks that lies within the frame."""
    low, high = landmarks.min(axis=0).astype(np.float64), landmarks.max(axis=0).astype(np.float64)
    shown = np.minimum(high, (width - 0.5, height - 0.5)) - np.maximum(low, -0.5)
    return float(np.clip(shown, 0, None).prod() / max((high - low).prod(), 1e-9))
