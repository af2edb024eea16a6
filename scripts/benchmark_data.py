"""What the data pipeline costs, beside the same calls made one after the other as the public version makes them."""

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import psutil
from torch import Tensor

from latentsync import REPO_ROOT
from latentsync.errors import ConfigError, MeasureError
from latentsync.face.align import FaceAligner
from latentsync.face.detect import MediaPipeDetector
from latentsync.judges import Judge
from latentsync.media.ffmpeg import decode_frames, ffmpeg_path, probe
from latentsync.metrics.sharpness import sharpness_score
from latentsync.processing.command import MANIFEST
from latentsync.processing.manifest import Manifest
from latentsync.processing.piece import Piece
from latentsync.processing.stage import KEPT
from preprocess.data_processing_pipeline import find_videos
from preprocess.settings import AlignSettings, SyncSettings
from preprocess.stages.align import Align
from preprocess.stages.sync import choose_judge
from scripts.make_raw_videos import ffmpeg

RATE = 25
MOST_LATE = 3  # frames by which a clip is compared earlier and later
_BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux


def benchmark_data(args: argparse.Namespace) -> dict:
    """Processor seconds for each second of the raw videos of a folder, and PSNR of the clips against the source.

    Both ways use the same detector and the same judge. Raises ConfigError.
    """
    source, side = Path(args.video), args.resolution or 256
    with TemporaryDirectory(prefix="latentsync-") as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        with Manifest(Path(folder, "none.sqlite")) as manifest:
            raw = [piece.path for piece in find_videos(source, manifest)]
        seconds = sum(probe(path).duration_s for path in raw)
        started = time.perf_counter()
        run_s = _processor_seconds(partial(_run, source, ours, side))
        wall_s = time.perf_counter() - started
        clips = _clips(ours)
        judge = choose_judge(SyncSettings(judge="project"))
        judge.load("cpu")
        detector = MediaPipeDetector()
        theirs_s = 0.0
        for path in raw:
            theirs_s += _processor_seconds(partial(_in_sequence, path, theirs / path.name, side, detector, judge))
        return {
            "videos": len(raw),
            "source_s": round(seconds, 1),
            "clips": len(clips),
            "wall_s": round(wall_s, 1),
            "cpu_s_per_source_s": round(run_s / seconds, 3),
            "in_sequence_cpu_s_per_source_s": round(theirs_s / seconds, 3),
            "share": round(run_s / theirs_s, 3),
            **_quality(clips, theirs, side),
        }


def _run(source: Path, root: Path, side: int) -> None:
    """The whole command, with the start of its processes."""
    command = [sys.executable, "-m", "preprocess.data_processing_pipeline", "--quiet", f"--resolution={side}"]
    done = subprocess.run(
        [*command, f"--input_dir={source}", f"--output_dir={root}"], cwd=REPO_ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise ConfigError(f"{source} cannot be processed: {done.stderr.strip()[-500:]}")


def _clips(root: Path) -> list[Piece]:
    with Manifest(root / MANIFEST) as manifest:
        rows = [row for row in manifest.outcomes("align") if row["status"] == KEPT]
    return [Piece.from_plain(values) for row in rows for values in row["outputs"]]


def _processor_seconds(work: Callable[[], None]) -> float:
    """Of this process, of those that it starts, and of those that they leave running for a moment."""
    ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)  # Linux: whom they leave becomes a child of this process
    before = os.times()
    work()
    for child in psutil.Process().children():
        with suppress(ChildProcessError):
            os.waitpid(child.pid, 0)
    return sum(os.times()[:4]) - sum(before[:4])


# One call after the other


def _in_sequence(path: Path, folder: Path, side: int, detector: MediaPipeDetector, judge: Judge) -> None:
    """spec/preprocess.md, sections 2.1 to 2.7: a file for each stage, and what judging needs."""
    from decord import AudioReader, VideoReader
    from scenedetect import AdaptiveDetector, detect, split_video_ffmpeg

    folder.mkdir(parents=True)
    VideoReader(str(path)), AudioReader(str(path))  # as a check of the file
    resampled = folder / "resampled.mp4"
    picture = ["-c:v", "copy"] if probe(path).rate == RATE and path.suffix == ".mp4" else ["-r", str(RATE)]
    ffmpeg("-i", path, *picture, "-ar", "16000", "-q:a", "0", resampled)
    scenes = detect(str(resampled), AdaptiveDetector(adaptive_threshold=2), start_in_scene=True)
    split_video_ffmpeg(
        str(resampled),
        scenes,
        output_dir=folder / "shot",
        arg_override="-map 0:v:0 -map 0:a? -c:v libx264 -preset veryfast -crf 22 -c:a aac",
    )
    (folder / "segmented").mkdir()
    for shot in sorted((folder / "shot").glob("*.mp4")):
        parts = ["-f", "segment", "-segment_time", "5", "-reset_timestamps", "1"]
        pattern = folder / "segmented" / f"{shot.stem}_%03d.mp4"
        ffmpeg("-i", shot, "-map", "0", "-c:v", "copy", *parts, "-q:a", "0", pattern)
    for part in sorted((folder / "segmented").glob("*.mp4")):
        clip = _aligned(part, folder / "aligned", side, detector)
        if clip is not None:
            _judged(clip, folder / "sync", judge)


def _aligned(path: Path, folder: Path, side: int, detector: MediaPipeDetector) -> Path | None:
    """The faces of a clip as a video, encoded twice; None where one is missing."""
    folder.mkdir(exist_ok=True)
    aligner = FaceAligner(side, reference=True)
    squares, matrices = [], []
    for frame in decode_frames(path, RATE):
        faces = detector(frame)
        if not faces:
            return None
        pose = aligner.pose(faces[0].landmarks)
        matrices.append(pose.matrix)
        squares.append(_picture(aligner.crop(frame, pose.matrix)))
    picture, sound, target = folder / "picture.mp4", folder / "sound.wav", folder / path.name
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{side}x{side}", "-r", str(RATE), "-i", "pipe:0"]
    subprocess.run(
        [ffmpeg_path(), "-v", "error", "-y", *raw, "-c:v", "libx264", "-crf", "13", "-pix_fmt", "yuv420p", picture],
        input=b"".join(square.tobytes() for square in squares),
        check=True,
    )
    ffmpeg("-i", path, "-vn", sound)
    ffmpeg("-i", picture, "-i", sound, "-c:v", "libx264", "-crf", "23", "-c:a", "aac", target)
    np.save(target.with_suffix(".npy"), np.array(matrices))
    return target


def _judged(clip: Path, folder: Path, judge: Judge) -> None:
    """The files that SyncNet's evaluation makes of a clip, the offset, the corrected file, the quality."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "frames").mkdir(parents=True)
    video, cropped = folder / "video.mp4", folder / "crop.mp4"
    ffmpeg("-i", clip, "-qscale:v", "2", "-async", "1", "-r", str(RATE), video)
    for of in (video, cropped):
        if of == cropped:
            ffmpeg("-i", video, "-vf", "scale=224:224", "-c:v", "mpeg4", "-q:v", "2", "-c:a", "aac", cropped)
        ffmpeg("-i", of, "-qscale:v", "2", "-f", "image2", folder / "frames" / "%06d.jpg")
        ffmpeg("-i", of, "-ac", "1", "-vn", "-acodec", "pcm_s16le", "-ar", "16000", folder / "sound.wav")
    try:
        offset = judge(clip).offset
    except MeasureError:  # too short
        offset = 0
    shift = ["-itsoffset", str(offset / RATE)]
    ffmpeg("-i", clip, *shift, "-i", clip, "-map", "0:v", "-map", "1:a", "-c", "copy", folder / "synced.mp4")
    with closing(decode_frames(clip, RATE)) as frames:
        pictures = list(frames)
    for picture in (pictures[0], pictures[len(pictures) // 2], pictures[-1]):
        sharpness_score(picture)


# Quality


def _quality(clips: list[Piece], theirs: Path, side: int) -> dict[str, float]:
    """Mean PSNR of the aligned clips of both ways, each against the same crops of the source without any encoding.

    Of the videos of 25 frames/s that both ways keep in one piece. Pictures that the calls in sequence show late count
    as if they were in time.
    """
    align, aligner = Align(AlignSettings(), side), FaceAligner(side, reference=True)
    align.setup("cpu")
    ours, others = [], []
    for clip in clips:
        source, first = clip.origin
        made = sorted((theirs / source.name / "aligned").glob("*-Scene-*.mp4"))
        if len(made) != 1 or first or probe(source).rate != RATE:
            continue
        with closing(align.faces(Piece("", source, n_frames=int(clip.metrics["frames"])))) as faces:
            ours.append(_psnr(clip.path, (_picture(face.crop) for face in faces)))
        frames, matrices = list(decode_frames(source, RATE)), np.load(made[0].with_suffix(".npy"))
        shifts = [_psnr(made[0], _crops(aligner, frames, matrices, late)) for late in range(-MOST_LATE, MOST_LATE + 1)]
        others.append(max(shifts))
    return {"compared": len(ours), "psnr": _mean(ours), "in_sequence_psnr": _mean(others)}


def _crops(aligner: FaceAligner, frames: list, matrices: np.ndarray, late: int) -> Iterator[np.ndarray]:
    """By the matrix of each frame of a clip out of the source's, which it shows so many frames late."""
    for i, matrix in enumerate(matrices):
        yield _picture(aligner.crop(frames[min(max(0, i - late), len(frames) - 1)], matrix))


def _picture(crop: Tensor) -> np.ndarray:
    return crop.permute(1, 2, 0).numpy()


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 2) if values else float("nan")


def _psnr(clip: Path, wanted: Iterable[np.ndarray]) -> float:
    with closing(decode_frames(clip, RATE)) as frames:
        return float(np.mean([cv2.PSNR(frame, picture) for frame, picture in zip(frames, wanted, strict=False)]))
