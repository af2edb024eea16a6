"""Whether the data pipeline makes of raw videos what is known that it should: fates, offsets, cuts, geometry.

python -m scripts.make_raw_videos --out data/known
bash data_processing_pipeline.sh --input_dir data/known/raw
python -m eval.eval_data_pipeline data/known

Exits with 1 where a video ended wrongly or a bar is missed.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import ConfigError, LatentSyncError
from latentsync.face.align import FaceAligner, frame_to_square
from latentsync.face.detect import MediaPipeDetector, mesh_alignment_points
from latentsync.face.place import keep_mouth_inside
from latentsync.face.track import NO_FRAME, RADIUS_S, SIGMA_S, finish_tracks
from latentsync.files import atomic_path
from latentsync.media.ffmpeg import decode_frames, probe
from latentsync.processing.command import MANIFEST
from latentsync.processing.manifest import Manifest
from latentsync.processing.piece import Piece
from latentsync.processing.stage import FAILED, KEPT
from latentsync.synthetic.fidelity import constant_bias
from latentsync.types import TrackedFace
from scripts.make_raw_videos import RATE, TRUTH
from scripts.parser import Parser

LAST_STAGE = "quality"
EDGE_FRAMES = 2  # by which a clip may begin or end apart from where it should
BAR_PX = 1.5
EVERY = 5  # frames between those whose geometry is measured


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="eval_data_pipeline", description=__doc__.split("\n")[0])
    add = p.add_argument
    add("folder", type=Path, help=f"of {TRUTH}, raw/, drawn/ and what the pipeline made")
    add("--clips", type=int, default=40, help="whose geometry is measured (%(default)s)")
    add("--list", type=Path, help="also write the clips of the videos that are kept whole, as a list for training")
    return p


@dataclass(frozen=True)
class Video:
    """A raw video: what should have become of it, and what has."""

    kind: str
    name: str
    drawn: str
    fate: dict
    clips: list[Piece]
    dropped: list[tuple[str, str, str]]  # stage, status, reason

    def misses(self) -> list[str]:
        """What is wrong, in words."""
        fate = self.fate
        wrong = [
            f"{stage} {'failed' if status == FAILED else 'left out'}: {reason}"
            for stage, status, reason in self.dropped
            if status == FAILED or not f"{stage}: {reason}".startswith(tuple(fate["left_out"]))
        ]
        for clip in self.clips:
            if clip.metrics["offset"] != fate["offset"]:
                wrong.append(f"offset {clip.metrics['offset']} instead of {fate['offset']}")
        found, wanted = sorted(map(stretch, self.clips)), [tuple(span) for span in fate["stretches"]]
        if len(found) != len(wanted) or (wanted and np.abs(np.subtract(found, wanted)).max() > EDGE_FRAMES):
            wrong.append(f"clips {found} instead of {wanted}")
        return wrong


def stretch(clip: Piece) -> tuple[int, int]:
    """First frame and end in the source, at 25 frames/s."""
    return clip.source_first, clip.source_first + int(clip.metrics["frames"])


def videos(folder: Path) -> list[Video]:
    """Raises ConfigError where the folder has no truth or no manifest."""
    for path, remedy in (
        (folder / TRUTH, "make it by scripts.make_raw_videos"),
        (folder / MANIFEST, "run the data pipeline on its raw/ first"),
    ):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; {remedy}")
    clips, dropped = defaultdict(list), defaultdict(list)
    raw = (folder / "raw").resolve()
    with Manifest(folder / MANIFEST) as manifest:
        for row in manifest.outcomes():
            outputs = [Piece.from_plain(values) for values in row["outputs"]]
            source = _source(row["key"])
            if row["status"] != KEPT:
                dropped[source].append((row["stage"], row["status"], row["reason"]))
            elif row["stage"] == LAST_STAGE:
                clips[source] += outputs
    found = []
    for line in json.loads((folder / TRUTH).read_text()):
        key = Path(line["path"]).with_suffix("").as_posix()
        if not (raw / line["path"]).is_file():
            raise ConfigError(f"{raw / line['path']}: no such file; make the raw videos again")
        found.append(Video(line["kind"], line["path"], line["drawn"], line["fate"], clips[key], dropped[key]))
    return found


def _source(key: str) -> str:
    """The raw video's key in a clip's."""
    return key.split("_shot_")[0]


# Geometry


def known_views(meshes: np.ndarray, side: int, detector: MediaPipeDetector) -> Iterator[np.ndarray]:
    """The map (2, 3) from frame pixels to the aligned square's of each frame, from known meshes (f, 468, 2)."""
    aligner, radius = FaceAligner(side), round(RADIUS_S * RATE)
    faces = (TrackedFace(i, NO_FRAME, 0, mesh, mesh_alignment_points(mesh)) for i, mesh in enumerate(meshes))
    steady = finish_tracks(faces, ahead=0, radius=radius, sigma=SIGMA_S * RATE)
    for face in keep_mouth_inside(steady, detector, Fraction(RATE)):
        yield frame_to_square(aligner.matrix(face.points), side)


def residuals(clip: Piece, drawn: Path, detector: MediaPipeDetector) -> np.ndarray:
    """Where the points of a face mesh lie in an aligned clip, less where they should: (f, 468, 2) pixels.

    Told by the affine map between the clip's pictures and those that the known geometry cuts out of the drawing, by
    Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization" (2008).
    """
    first, end = stretch(clip)
    meshes = np.load(drawn.with_suffix(".npz"))["landmarks"][first:end, 0]
    apart = []
    with (
        closing(decode_frames(clip.path, Fraction(RATE))) as squares,
        closing(decode_frames(drawn, Fraction(RATE), first=first, n_frames=end - first)) as frames,
    ):
        side = probe(clip.path).width
        views = known_views(meshes, side, detector)
        for i, (square, frame, mesh, view) in enumerate(zip(squares, frames, meshes, views, strict=False)):
            if i % EVERY:
                continue
            wanted = cv2.warpAffine(frame, view, (side, side), borderMode=cv2.BORDER_REPLICATE)
            _, found = cv2.findTransformECC(
                cv2.cvtColor(wanted, cv2.COLOR_RGB2GRAY),
                cv2.cvtColor(square, cv2.COLOR_RGB2GRAY),
                np.eye(2, 3, dtype=np.float32),
                cv2.MOTION_AFFINE,
            )
            points = mesh @ view[:, :2].T + view[:, 2]
            apart.append(points @ found[:, :2].T + found[:, 2] - points)
    return np.array(apart)


def geometry(found: Iterable[Video], folder: Path, n_clips: int) -> np.ndarray:
    """How far clips are from the known geometry, (n, 2) pixels: the mean over a clip's frames and the mesh's points.

    First after one constant bias per point of the clip, as the detector sees every person in a way of its own; then
    after one per point of all clips. Of the videos that were drawn at 25 frames/s and show their drawing as it is.
    """
    detector = MediaPipeDetector()
    clips = []
    for video in found:
        drawn = folder / "drawn" / f"{video.drawn}.mp4"
        spec = json.loads(drawn.with_suffix(".json").read_text())["spec"]
        if spec["fps"] == str(RATE) and video.kind != "rotated":
            clips += [(clip, drawn) for clip in video.clips]
    chosen = clips[:: max(1, len(clips) // n_clips)][:n_clips]
    apart = [residuals(clip, drawn, detector) for clip, drawn in chosen]
    if not apart:
        return np.empty((0, 2))
    common = constant_bias(apart)
    return np.array([[_distance(one, constant_bias([one])), _distance(one, common)] for one in apart])


def _distance(apart: np.ndarray, bias: np.ndarray) -> float:
    return float(np.linalg.norm(apart - bias, axis=-1).mean())


# The command


def tell(found: Sequence[Video]) -> bool:
    """Print a line for each kind and one for each video that ended wrongly; whether all are right."""
    print(f"{'kind':<14}{'videos':>7}{'right':>7}{'clips':>7}  known fate")
    for kind in dict.fromkeys(video.kind for video in found):
        of_kind = [video for video in found if video.kind == kind]
        right = sum(not video.misses() for video in of_kind)
        fate = of_kind[0].fate
        known = " or ".join((["kept"] if fate["stretches"] else []) + fate["left_out"])
        print(f"{kind:<14}{len(of_kind):>7}{right:>7}{sum(len(video.clips) for video in of_kind):>7}  {known}")
    wrong = [(video.name, video.misses()) for video in found if video.misses()]
    print(f"{'all':<14}{len(found):>7}{len(found) - len(wrong):>7}{sum(len(video.clips) for video in found):>7}")
    for name, misses in wrong:
        print(f"wrong: {name}: {'; '.join(misses)}")
    return not wrong


def main(args: argparse.Namespace) -> bool:
    """Whether everything is as it should be. Raises LatentSyncError."""
    found = videos(args.folder)
    right = tell(found)
    kept = [video for video in found if video.fate["stretches"]]
    offsets = [clip.metrics["offset"] == video.fate["offset"] for video in kept for clip in video.clips]
    print(f"offsets: {sum(offsets)} of {len(offsets)} clips exact")
    distances = geometry(kept, args.folder, args.clips)
    for bias, of_clips in zip(("of each clip", "of all clips"), distances.T, strict=True):
        print(
            f"geometry, one bias per point {bias}: mean {of_clips.mean():.2f} px, worst clip {of_clips.max():.2f} px, "
            f"{(of_clips <= BAR_PX).sum()} of {len(of_clips)} clips within {BAR_PX} px"
        )
    if args.list:
        whole = [clip.path for video in kept if len(video.fate["stretches"]) == 1 for clip in video.clips]
        with atomic_path(args.list) as path:
            path.write_text("".join(f"{clip}\n" for clip in whole))
    return right and all(offsets) and distances[:, 0].max(initial=0 if len(distances) else np.inf) <= BAR_PX


def cli(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        return int(not main(args))
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(cli())
