"""One person's face in every frame, cut out and aligned as for inference: the clips that training reads."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from latentsync.build import DETECTORS
from latentsync.face.align import FaceAligner
from latentsync.face.track import FaceChoice
from latentsync.face.warp import to_3x3
from latentsync.media.ffmpeg import decode_frames
from latentsync.options import InferenceOptions
from latentsync.pipelines.faces import align_faces
from latentsync.processing.piece import Piece
from latentsync.processing.stage import Rejected, Stage
from latentsync.types import AlignedFace

from ..media import FPS, sound_of, target, write_clip
from ..settings import AlignSettings


class Runs:
    """Consecutive faces of one person that are `n_least` frames long or more: the first frame of each, and its faces.

    A run must be used up before the next one is asked for. At the end the counts are those of all frames.
    """

    def __init__(self, faces: Iterator[AlignedFace], n_least: int) -> None:
        self._faces, self._n_least = faces, n_least
        self._next: AlignedFace | None = next(faces, None)
        self.n_frames = self.n_faceless = self.longest = 0

    def __iter__(self) -> Iterator[tuple[int, Iterator[AlignedFace]]]:
        while self._next is not None:
            if self._next.crop is None:
                self._take()
                self.n_faceless += 1
                continue
            first, run = self.n_frames, self._run(self._next.run)
            head = list(islice(run, self._n_least))
            if len(head) == self._n_least:
                yield first, chain(head, run)
            self.longest = max(self.longest, self.n_frames - first)

    def _run(self, number: int) -> Iterator[AlignedFace]:
        while self._next is not None and self._next.crop is not None and self._next.run == number:
            yield self._take()

    def _take(self) -> AlignedFace:
        face, self._next = self._next, next(self._faces, None)
        self.n_frames += 1
        return face


@dataclass
class Align(Stage):
    """The only lossy encoding between a source and its clips.

    A clip ends where the face is missed for longer than inference bridges, where the person changes and at cuts: what
    is long enough before and after becomes clips of their own. Several people: the largest face, kept through the shot.
    """

    settings: AlignSettings
    resolution: int

    name = "align"
    folder = "affine_transformed"
    gpus = 0.5  # MediaPipe runs on the CPU, InsightFace on a GPU

    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings) | {"resolution": self.resolution}

    def setup(self, device: str) -> None:
        cv2.setNumThreads(1)  # there is one process for each processor
        torch.set_num_threads(1)
        self._detector = DETECTORS[self.settings.detector]()

    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        made: list[Piece] = []
        with closing(self.faces(piece)) as faces:
            runs = Runs(faces, round(self.settings.min_s * FPS))
            for first, run in runs:
                suffix = "" if first == 0 and not made else f"_{chr(ord('a') + len(made))}"
                path = target(folder, piece.key + suffix)
                sizes: list[float] = []
                n_frames = write_clip(
                    path,
                    self._squares(run, sizes),
                    partial(sound_of, piece.path, piece.first + first),
                    crf=self.settings.crf,
                    preset=self.settings.preset,
                )
                size = round(float(np.median(sizes)), 1)
                found = piece.made(path, suffix, first)
                made.append(found.measured(frames=n_frames, seconds=n_frames / FPS, face_size=size))
        if not made:
            reason = "no face" if runs.longest == 0 else "no face for long enough"
            raise Rejected(reason, faceless=runs.n_faceless, frames=runs.n_frames, longest=runs.longest)
        return made

    def faces(self, piece: Piece) -> Iterator[AlignedFace]:
        """Of each frame of a piece, before they become clips."""
        frames = decode_frames(piece.path, FPS, first=piece.first, n_frames=piece.n_frames)
        return align_faces(
            enumerate(frames),
            FaceAligner(self.resolution, alignment_points=self._detector.alignment_points),
            self._detector,
            choice=FaceChoice(),
            rate=Fraction(FPS),
            options=InferenceOptions(),
        )

    def _squares(self, faces: Iterator[AlignedFace], sizes: list[float]) -> Iterator[np.ndarray]:
        """The pictures to encode; the height of each face in source pixels goes to `sizes`."""
        for face in faces:
            scale = float(np.sqrt(np.linalg.det(to_3x3(face.pose.matrix)[:2, :2])))
            sizes.append(self.resolution / scale)
            yield face.crop.permute(1, 2, 0).numpy()
