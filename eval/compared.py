"""A result beside what it is compared with: the same face of the same moments, as frames pass by once."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.errors import MediaError, NoFaceError
from latentsync.face.align import FaceAligner
from latentsync.face.detect import FaceDetector
from latentsync.face.track import FaceChoice
from latentsync.media.ffmpeg import decode_frames, probe
from latentsync.media.loop import expected_frames
from latentsync.metrics.tracks import FaceTrack
from latentsync.options import InferenceOptions
from latentsync.pipelines.faces import align_faces
from latentsync.types import AlignedFace

from .edited import FPS, edited_face
from .meters import Moment, View
from .results import Result

SIDE = 256  # pixels of the squares


class ComparedClip:
    """The face is placed by the result; the same squares are cut out of source and truth, as far as these reach.

    Where the source shows several people, it is the one whose lips were changed. Raises MediaError for a result that
    cannot be read.

    Attributes:
        sound: the file whose sound the lips shall follow: the result, unless that is silent; None without any.
        others: source and truth, those that there are.
        reasons: why one of "source", "truth" and "sound" is not used.
    """

    def __init__(self, result: Result, detector: FaceDetector) -> None:
        self.path, self._detector = result.path, detector
        self._info = probe(result.path)
        self.reasons: dict[str, str] = {}
        self.others: dict[str, Path] = {}
        for name, path in (("source", result.video), ("truth", result.truth)):
            if path is not None and self._is_comparable(name, path):
                self.others[name] = path
        self.sound = result.path if self._info.audio else result.audio
        if self.sound is None:
            self.reasons["sound"] = f"{result.path} has no sound; name the file that has it in the column audio"
        source = self.others.get("source")
        self._choice = edited_face(result.path, source, detector) if source else FaceChoice()
        self.n_frames, self.n_faces = 0, 0
        self._centres: dict[int, np.ndarray] = {}  # of the face, two numbers for each frame

    def _is_comparable(self, name: str, path: Path) -> bool:
        try:
            info = probe(path)
        except MediaError as error:
            self.reasons[name] = str(error)
            return False
        got, expected = (f"{video.width}x{video.height}" for video in (info, self._info))
        if got != expected:
            self.reasons[name] = f"{path}: expected the {expected} of {self.path}, got {got}; use videos of one size"
        return got == expected

    @property
    def reference(self) -> Path | None:
        """What a real video of this person is like: the truth, else the source."""
        return self.others.get("truth") or self.others.get("source")

    @property
    def expected(self) -> int:
        """About how many frames there will be."""
        return expected_frames(self._info, FPS) or FPS

    def moments(self) -> Iterator[Moment | None]:
        """One for each frame of the result at 25 per second; None where its face is not found.

        Raises NoFaceError at the end of a result without any face.
        """
        with ExitStack() as open_files:
            frames, *others = (
                open_files.enter_context(closing(decode_frames(video, FPS)))
                for video in (self._info, *self.others.values())
            )
            settings = {"choice": self._choice, "rate": Fraction(FPS), "options": InferenceOptions()}
            aligner = FaceAligner(SIDE)
            for face in align_faces(enumerate(frames), aligner, self._detector, **settings):
                beside = dict(zip(self.others, (next(other, None) for other in others), strict=True))
                self.n_frames += 1
                yield self._moment(face, beside, aligner)
        if not self.n_faces:
            raise NoFaceError(f"{self.path}: no face found in any frame; expected one to be measured, so leave it out")

    def _moment(self, face: AlignedFace, beside: dict[str, np.ndarray | None], aligner: FaceAligner) -> Moment | None:
        if face.pose is None:
            return None
        self.n_faces += 1
        mesh, matrix = face.pose.landmarks, face.pose.matrix
        self._centres[face.index] = (mesh.min(axis=0) + mesh.max(axis=0)) / 2
        views = {
            name: View(frame, aligner.crop(frame, matrix)) for name, frame in beside.items() if frame is not None
        }
        return Moment(face.index, View(face.frame, face.crop), mesh, matrix, **views)

    # Once all moments have passed

    @property
    def place(self) -> tuple[float, float]:
        """Where the face is, on the whole, in pixels."""
        x, y = np.median(list(self._centres.values()), axis=0)
        return float(x), float(y)

    def shows_the_face(self, track: FaceTrack) -> bool:
        """Whether a track follows this face: its boxes hold the face's centre more often than not."""
        inside = [
            bool((centre >= box[:2]).all() and (centre <= box[2:]).all())
            for i, box in enumerate(track.boxes, track.first)
            if (centre := self._centres.get(i)) is not None
        ]
        return bool(inside) and float(np.mean(inside)) > 0.5

