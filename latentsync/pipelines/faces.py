"""Frames to aligned faces; a frame that is shown again is not searched again."""

from array import array
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain

import numpy as np

from latentsync.errors import NoFaceError
from latentsync.face.align import FaceAligner
from latentsync.face.detect import FaceDetector
from latentsync.face.place import keep_mouth_inside
from latentsync.face.track import FaceChoice, track_faces
from latentsync.options import InferenceOptions
from latentsync.types import AlignedFace, FacePose, TrackedFace

#: Replayed frames keep their matrix, not their mesh.
NO_LANDMARKS = np.empty((0, 2), np.float32)


def align_faces(
    frames: Iterable[tuple[int, np.ndarray]],
    aligner: FaceAligner,
    detector: FaceDetector,
    *,
    choice: FaceChoice,
    rate: Fraction,
    options: InferenceOptions,
) -> Iterator[AlignedFace]:
    """Find, follow and cut out the face of each frame.

    `frames` gives source numbers and (h, w, 3) uint8 RGB frames: first 0, 1, 2, ..., then any of them again.
    Raises NoFaceError for a frame without a face where the options do not let it pass.
    """
    frames = iter(frames)
    again: list[tuple[int, np.ndarray]] = []  # the first frame that is shown again
    matrices, tracks = array("f"), array("l")  # of each source frame, 32 bytes; the track -1 is no face

    def fresh() -> Iterator[np.ndarray]:
        for expected, (index, frame) in enumerate(frames):
            if index != expected:
                again.append((index, frame))
                return
            yield frame

    def cut_out(index: int, frame: np.ndarray, pose: FacePose, run: int) -> AlignedFace:
        return AlignedFace(index, frame, pose, aligner.crop(frame, pose.matrix), run)

    steady = options.precise_alignment
    n_tracks = 0
    tracked = track_faces(fresh(), detector, choice=choice, rate=rate, smooth=steady, bridge=steady, hold=steady)
    if options.mouth_inside_mask:
        tracked = keep_mouth_inside(tracked, detector, rate)
    for face in tracked:
        if face.track is None:
            if not options.pass_faceless:
                raise NoFaceError(f"no face found in frame {face.index}; remove it or let such frames pass through")
            matrices.extend([0.0] * 6)
            tracks.append(-1)
            yield AlignedFace(face.index, face.frame, None, None)
            continue
        pose = _pose(face, aligner)
        matrices.extend(pose.matrix.ravel().tolist())
        tracks.append(face.track)
        n_tracks = max(n_tracks, face.track + 1)
        yield cut_out(face.index, face.frame, pose, face.track)

    jumps, before = 0, len(tracks) - 1
    for index, frame in chain(again, frames):
        jumps += abs(index - before) > 1
        before = index
        if tracks[index] < 0:
            yield AlignedFace(index, frame, None, None)
        else:
            matrix = np.array(matrices[6 * index : 6 * index + 6], np.float32).reshape(2, 3)
            yield cut_out(index, frame, FacePose(matrix, NO_LANDMARKS), tracks[index] + jumps * n_tracks)


def _pose(face: TrackedFace, aligner: FaceAligner) -> FacePose:
    if aligner.reference:
        return aligner.pose(face.landmarks)  # its own points, rounded
    return FacePose(aligner.matrix(face.points), face.landmarks)
