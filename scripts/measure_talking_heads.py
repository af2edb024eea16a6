"""Measure drawn people as a face mesh sees them, and whether picture and sound of finished clips agree.

    python -m scripts.measure_talking_heads --identities 30 --frames 60 --out measured
    python -m scripts.measure_talking_heads --clips a.mp4 b.mp4

Exits with 1 where a bar is missed.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import LatentSyncError, MediaError
from latentsync.face.detect import Face, MediaPipeDetector
from latentsync.face.warp import inverse
from latentsync.media.ffmpeg import decode_audio, decode_frames
from latentsync.metrics.curves import LAG_REACH, Lag, best_lag
from latentsync.metrics.mouth import lip_gap
from latentsync.synthetic.aligned import mesh_views, views
from latentsync.synthetic.clip import ClipFrame, frames
from latentsync.synthetic.fidelity import (
    REFERENCE_SIZE,
    STEP_S,
    Fidelity,
    Observed,
    fidelity,
    sound_lag,
)
from latentsync.synthetic.motion import STRONG
from latentsync.synthetic.pose import FaceTruth, Pose
from latentsync.synthetic.seeds import derived
from latentsync.synthetic.spec import ClipSpec
from latentsync.synthetic.speech import Phoneme
from latentsync.synthetic.studio import Studio, real_studio

SAMPLE_RATE = 16000
FPS = Fraction(25)
ALIGNMENT_NAMES = ("left brow", "right brow", "nose")
SHORTEST_SEEN = 25  # frames with a mesh that a lag can be told from


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="measure_talking_heads", description=__doc__.split("\n")[0])
    add = p.add_argument
    add("--identities", type=int, default=30, help="drawn people (%(default)s)")
    add("--frames", type=int, default=60, help="of each (%(default)s)")
    add("--seed", type=int, default=0, help="of the people, their movements and words (%(default)s)")
    add("--size", type=int, nargs=2, default=(512, 512), metavar=("W", "H"), help="pixels (512 512)")
    add("--strong_pose", action="store_true", help="heads that move and turn much")
    add("--clips", type=Path, nargs="+", metavar="MP4", help="measure these files, with their .json, instead")
    add("--out", type=Path, help="folder for measured.json and plots")
    return p


# Drawn people


def observe(spec: ClipSpec, detector: MediaPipeDetector, studio: Studio) -> Observed:
    """What the mesh finds of a clip of one person."""
    seen: list[tuple[ClipFrame, np.ndarray]] = []
    n_frames = 0
    for frame in frames(spec, studio):
        n_frames += 1
        face = nearest(detector(frame.picture, limit=None), frame.faces[0].truth.landmarks)
        if face is not None:
            seen.append((replace(frame, picture=np.empty((0, 0, 3), np.uint8)), face.landmarks))
    states = [frame.faces[0] for frame, _ in seen]
    return Observed(
        identity=spec.identity(0, 0),
        n_frames=n_frames,
        truth=np.array([state.truth.landmarks for state in states]).reshape(-1, 468, 2),
        measured=np.array([landmarks for _, landmarks in seen]).reshape(-1, 468, 2),
        gap=np.array([state.truth.lip_gap for state in states]),
        size=np.array([state.pose.size for state in states]),
        roll=np.array([state.pose.roll for state in states]),
    )


def nearest(faces: Sequence[Face], landmarks: np.ndarray) -> Face | None:
    """The face that lies on the truth's landmarks (n, 2); None where none does."""
    middle, height = landmarks.mean(axis=0), np.ptp(landmarks[:, 1])
    distance, _, face = min(
        ((float(np.linalg.norm(f.landmarks.mean(axis=0) - middle)), i, f) for i, f in enumerate(faces)),
        default=(np.inf, 0, None),
    )
    return face if distance < 0.35 * height else None


def misplaced(clip: Observed, resolution: int = 256) -> np.ndarray:
    """How far apart the squares by truth and by the mesh are in each frame, (f,): mean over a grid, their pixels."""
    poses = [Pose(0, 0, size, roll=roll) for size, roll in zip(clip.size, clip.roll, strict=True)]
    truths = [FaceTruth(landmarks, 0, 0, 0) for landmarks in clip.truth]
    known = views(zip([0] * len(poses), truths, poses, strict=True), FPS, resolution)
    found = mesh_views(clip.measured, FPS, resolution)
    across, down = np.meshgrid(np.linspace(0.2, 0.8, 5), np.linspace(0.15, 0.85, 6))
    grid = np.stack([across, down], axis=-1).reshape(-1, 2) * resolution
    moved = (mapped(mapped(grid, inverse(a)), b) for a, b in zip(known, found, strict=True))
    return np.array([np.linalg.norm(points - grid, axis=1).mean() for points in moved])


def draw_people(args: argparse.Namespace) -> list[Observed]:
    """Draw the people and find their meshes."""
    studio = real_studio()
    clips = []
    with MediaPipeDetector() as detector:
        for i in range(args.identities):
            spec = ClipSpec(
                seed=derived(args.seed, "measure", i),
                identities=(derived(args.seed, "identity", i),),
                seconds=args.frames / float(FPS),
                width=args.size[0],
                height=args.size[1],
                amplitude=STRONG if args.strong_pose else 1.0,
            )
            clips.append(observe(spec, detector, studio))
            progress(f"{i + 1} of {args.identities} people")
    return clips


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)


# Finished files


@dataclass(frozen=True)
class Agreement:
    """What one file's pictures and sound say about time; lags in frames, > 0 is late."""

    path: str
    detected: float  # share of the frames in which a face should be seen
    picture: Lag  # lips in the decoded pictures against the sidecar
    sound: Lag | None  # the decoded sound against the sidecar's phonemes; None where nobody speaks
    wanted: float  # the total lag that the clip was made with

    @property
    def total(self) -> float:
        """How much later the sound comes than the pictures, frames, beyond what was wanted."""
        return 0.0 if self.sound is None else self.sound.exact - self.picture.exact - self.wanted

    def misses(self) -> list[str]:
        bars = (
            (self.detected >= 1, "faces found in all frames", f"{self.detected:.2%}"),
            (self.picture.steps == 0, "pictures on time", f"{self.picture.steps:+d} frames"),
            (round(self.total) == 0, "sound on time", f"{self.total:+.2f} frames"),
        )
        return [f"{self.path}: expected {expected}, got {got}" for ok, expected, got in bars if not ok]


def measure_file(path: Path, detector: MediaPipeDetector) -> Agreement:
    """Raises LatentSyncError for a file without its sidecar or without a face that moves its lips."""
    truth = read_truth(path)
    fps = Fraction(truth["fps"])
    person = subject(truth)
    columns, first = person["frames"], person["first_frame"]
    expected, measured = np.full(truth["n_frames"], np.nan), np.full(truth["n_frames"], np.nan)
    n_visible = 0
    for index, picture in enumerate(decode_frames(path, fps)):
        if not first <= index < first + len(columns["lip_gap"]):
            continue
        i = index - first
        expected[index] = columns["lip_gap"][i] / columns["size"][i]
        if columns["visible"][i] < 0.9:
            continue
        n_visible += 1
        view = np.array(truth["view"][index]) if "view" in truth else np.eye(2, 3)
        face = nearest(detector(picture, limit=None), mapped(_corners(columns["box"][i]), view))
        if face is not None:
            scale = np.sqrt(abs(np.linalg.det(view[:, :2])))
            measured[index] = lip_gap(face.landmarks[None])[0] / (columns["size"][i] * scale)
    n_seen = int(np.isfinite(measured).sum())
    if n_seen < SHORTEST_SEEN:
        raise MediaError(
            f"{path} shows a face in {n_seen} frames; expected {SHORTEST_SEEN} or more, so use longer clips"
        )
    return Agreement(
        path=str(path),
        detected=n_seen / n_visible,
        picture=best_lag(expected, measured, LAG_REACH),
        sound=heard(path, person, fps),
        wanted=-float(truth["sound"]["offset_frames"]),
    )


def heard(path: Path, person: dict, fps: Fraction) -> Lag | None:
    """The lag of the sound in frames; None for a silent person."""
    if not person.get("phonemes"):
        return None
    phonemes = [Phoneme(symbol, start_s, end_s) for symbol, start_s, end_s in person["phonemes"]]
    with tempfile.TemporaryDirectory() as folder:
        samples = np.array(decode_audio(path, Path(folder), sample_rate=SAMPLE_RATE), np.float32) / 32768
    lag = sound_lag(phonemes, samples, SAMPLE_RATE, LAG_REACH / float(fps))
    frames_per_step = STEP_S * float(fps)
    return Lag(round(lag.exact * frames_per_step), lag.exact * frames_per_step, lag.correlation)


def read_truth(path: Path) -> dict:
    sidecar = path.with_suffix(".json")
    try:
        return json.loads(sidecar.read_text())
    except (OSError, ValueError) as error:
        raise MediaError(
            f"{sidecar} cannot be read as a clip's truth; make the clip with make_talking_heads"
        ) from error


def subject(truth: dict) -> dict:
    """The person to be measured: the first who speaks, else the first."""
    return next((person for person in truth["people"] if person["speaks"]), truth["people"][0])


def _corners(box: Sequence[float]) -> np.ndarray:
    x0, y0, x1, y1 = box
    return np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)])


def mapped(points: np.ndarray, view: np.ndarray) -> np.ndarray:
    return points @ view[:, :2].T + view[:, 2]


# Telling


def table(result: Fidelity) -> Iterator[str]:
    gaps, middle = (np.array(list(v.values())) for v in (result.gap_correlation, result.middle_correlation))
    spreads = np.array(list(result.spreads.values()))
    worst = min(result.gap_correlation, key=result.gap_correlation.__getitem__)
    loosest = max(result.spreads, key=result.spreads.__getitem__)
    bias = np.linalg.norm(result.bias, axis=1) * REFERENCE_SIZE
    yield f"faces and meshes found               {result.detected:8.2%}"
    yield f"lip gap, correlation (three pairs)   {gaps.mean():8.3f}   worst {gaps.min():.3f} (identity {worst})"
    yield f"lip gap, correlation (13 and 14)     {middle.mean():8.3f}   worst {middle.min():.3f}"
    yield f"constant bias of the mesh, px        {bias.mean():8.2f}   worst point {bias.max():.2f} ({bias.argmax()})"
    yield f"spread around it, px                 {spreads.mean():8.2f}   worst {spreads.max():.2f} (identity {loosest})"
    around = np.array(list(result.alignment_spreads.values()))
    for i, name in enumerate(ALIGNMENT_NAMES):
        x, y = result.alignment_bias[i] * REFERENCE_SIZE
        where = f"bias {x:+.2f} {y:+.2f} px"
        yield f"{name:<12} {where:<23} {around[:, i].mean():8.2f}   worst {around[:, i].max():.2f}"
    yield f"px: of a face {REFERENCE_SIZE} px high"


def placement(clips: Sequence[Observed]) -> str:
    apart = [misplaced(clip) for clip in clips if len(clip.truth)]
    every, each = np.concatenate(apart), np.array([values.mean() for values in apart])
    return (
        f"aligned squares of 256, px apart      {every.mean():8.2f}   worst person {each.max():.2f}, "
        f"95 % of the frames within {np.quantile(every, 0.95):.2f}"
    )


def as_json(result: Fidelity) -> dict:
    content = asdict(result)
    for name in ("bias", "alignment_bias"):
        content[name] = content[name].round(5).tolist()
    content["alignment_spreads"] = {k: v.round(3).tolist() for k, v in content["alignment_spreads"].items()}
    return content


def plot_bias(result: Fidelity, path: Path) -> None:
    """The bias of the mesh's points as arrows, ten times as long, drawn without any plotting package."""
    side, scale = 900, 700
    picture = np.full((side, side, 3), 255, np.uint8)
    rest = template() * scale + side / 2
    for start, arrow in zip(rest, result.bias * scale * 10, strict=True):
        a, b = (tuple(int(v * 16) for v in point) for point in (start, start + arrow))
        cv2.circle(picture, a, 2 * 16, (170, 170, 170), cv2.FILLED, cv2.LINE_AA, shift=4)
        cv2.line(picture, a, b, (40, 70, 200), 1, cv2.LINE_AA, shift=4)
    cv2.putText(picture, "bias of the mesh, 10 x", (16, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), picture)


def plot_gaps(clips: Sequence[Observed], result: Fidelity, path: Path, most: int = 8) -> None:
    """The true lip gap (grey) and the measured one (red) over time, of those with the worst correlation."""
    width, height = 900, 110
    known = [clip for clip in clips if clip.identity in result.gap_correlation]
    known = sorted(known, key=lambda clip: result.gap_correlation[clip.identity])[:most]
    picture = np.full((height * max(1, len(known)), width, 3), 255, np.uint8)
    for row, clip in enumerate(known):
        curves = clip.gap / clip.size, lip_gap(clip.measured) / clip.size
        low, high = min(map(np.min, curves)), max(map(np.max, curves))
        for values, colour in zip(curves, ((150, 150, 150), (40, 40, 210)), strict=True):
            x = np.linspace(8, width - 8, len(values))
            y = height * (row + 1) - 10 - (values - low) / max(high - low, 1e-6) * (height - 34)
            points = np.round(np.stack([x, y], axis=1) * 16).astype(np.int32)
            cv2.polylines(picture, [points], False, colour, 2, cv2.LINE_AA, shift=4)
        text = f"identity {clip.identity}: {result.gap_correlation[clip.identity]:.3f}"
        cv2.putText(picture, text, (10, height * row + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), picture)


def template() -> np.ndarray:
    """Where the mesh's points lie in a face that looks ahead, (468, 2) in face heights around the middle."""
    from latentsync.synthetic.head import TalkingHead
    from latentsync.synthetic.mouth import REST

    return TalkingHead(0).truth(np.asarray(REST, np.float32), Pose(0.0, 0.0, 1.0)).landmarks


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
        misses, content = files(args.clips) if args.clips else people(args)
        if args.out:
            (args.out / "measured.json").write_text(json.dumps(content, indent=1) + "\n")
    except (LatentSyncError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for miss in misses:
        print(f"MISSED: {miss}")
    return int(bool(misses))


def people(args: argparse.Namespace) -> tuple[list[str], dict]:
    clips = draw_people(args)
    result = fidelity(clips)
    print("\n".join(table(result)))
    print(placement(clips))
    if args.out:
        plot_bias(result, args.out / "bias.png")
        plot_gaps(clips, result, args.out / "gaps.png")
    return result.misses(), as_json(result)


def files(paths: Sequence[Path]) -> tuple[list[str], dict]:
    misses, content = [], {}
    print(f"{'file':<32} {'found':>8} {'picture':>9} {'corr':>6} {'sound':>9} {'corr':>6} {'total':>8}")
    with MediaPipeDetector() as detector:
        for path in paths:
            found = measure_file(path, detector)
            sound = f"{found.sound.exact:+9.2f} {found.sound.correlation:6.3f}" if found.sound else f"{'-':>9} {'-':>6}"
            lips = f"{found.picture.exact:+9.2f} {found.picture.correlation:6.3f}"
            print(f"{path.name:<32} {found.detected:8.2%} {lips} {sound} {found.total:+8.2f}")
            misses += found.misses()
            content[str(path)] = asdict(found) | {"total": found.total}
    return misses, content


if __name__ == "__main__":
    sys.exit(main())
