"""Clips as files: a video with sound, and beside it what is true of it.

NAME.mp4 and NAME.json, of a counterfactual pair NAME.other.mp4 and NAME.other.json too. NAME.npz holds all landmarks
where they are wanted: they are thirty times as much as the rest, and what measures alignment or lips finds its points
in the sidecar already. The sidecar is written last, so that a clip with one is complete.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .. import __version__
from ..errors import ConfigError
from ..face.detect import mesh_alignment_points
from ..media.ffmpeg import VideoWriter
from .clip import Clip, ClipFrame, FaceState
from .mouth import PARAMETERS, closed_intervals, opening, viseme_at
from .soundtrack import write_wav
from .spec import ClipSpec
from .speech import Speech
from .studio import Studio, real_studio

FORMAT = 1  # raise it when what a specification looks like in pixels changes, so that older clips are made anew
OTHER = ".other"  # the counterfactual's suffix
_PRESET = "veryfast"  # encoding costs less than drawing
_POSE = ("x", "y", "size", "yaw", "pitch", "roll", "blink", "gaze_x", "gaze_y", "brow", "smile")
_DIGITS = 4


def names_of(spec: ClipSpec, name: str) -> list[str]:
    """The names of the videos without their suffix, the one that is complete last at the end."""
    return [name + OTHER, name] if spec.counterfactual else [name]


def is_written(spec: ClipSpec, folder: Path, name: str, *, landmarks: bool = False) -> bool:
    """Whether the folder has this clip, complete, and with its landmarks if they are wanted.

    Raises ConfigError where it has another one of that name.
    """
    sidecar = Path(folder, f"{name}.json")
    try:
        content = json.loads(sidecar.read_text())
        same = content["format"] == FORMAT and content["spec"] == _plain(spec)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{sidecar} cannot be read as a clip's truth ({type(error).__name__})") from error
    if not same:
        raise ConfigError(f"{sidecar} describes another clip than the one wanted")
    suffixes = (".mp4", ".npz") if landmarks else (".mp4",)
    return all(Path(folder, one + suffix).is_file() for one in names_of(spec, name) for suffix in suffixes)


def write_clip(
    spec: ClipSpec, folder: str | Path, name: str, *, studio: Studio | None = None, landmarks: bool = False
) -> Path:
    """Make a clip and its truth; returns the video. What has this name is replaced when all is ready.

    Nothing half-made gets the name, however this ends. Raises LatentSyncError.
    """
    folder = Path(folder)
    clip = Clip(spec, studio or real_studio())
    with _workplace(folder, name) as part:
        for one in names_of(spec, name):
            other = one != name
            states = _write_video(clip, part / f"{one}.mp4", other=other)
            truth = _truth(clip, states, other=other)
            (part / f"{one}.json").write_text(json.dumps(truth, separators=(",", ":"), ensure_ascii=False) + "\n")
            if landmarks:
                _write_landmarks(part / f"{one}.npz", states)
        (folder / f"{name}.json").unlink(missing_ok=True)  # the old videos are no longer complete
        for suffix in (".mp4", ".npz", ".json"):
            for one in names_of(spec, name):
                if (part / f"{one}{suffix}").exists():
                    (part / f"{one}{suffix}").replace(folder / f"{one}{suffix}")
    return folder / f"{name}.mp4"


@contextmanager
def _workplace(folder: Path, name: str) -> Iterator[Path]:
    """A hidden folder for a clip's parts; what a killed run left there is removed."""
    part = folder / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_video(clip: Clip, path: Path, *, other: bool) -> list[ClipFrame]:
    """Encode the frames with their sound; returns them without their pictures."""
    samples, sample_rate = clip.sound(other=other)
    sound = path.with_suffix(".wav")
    write_wav(sound, samples, sample_rate)
    empty = np.empty((0, 0, 3), np.uint8)
    states = []
    width, height = clip.size
    with VideoWriter(path, width, height, clip.spec.fps, audio=sound, crf=clip.spec.crf, preset=_PRESET) as writer:
        for frame in clip.frames(other=other):
            writer.write(frame.picture)
            states.append(replace(frame, picture=empty))
    return states


def _truth(clip: Clip, frames: Sequence[ClipFrame], *, other: bool) -> dict[str, Any]:
    """The sidecar's content; docs/synthetic.md names the fields."""
    spec = clip.spec
    samples, sample_rate = clip.sound(other=other)
    width, height = clip.size
    content: dict[str, Any] = {
        "format": FORMAT,
        "versions": {"latentsync": __version__, "numpy": np.__version__, "opencv": cv2.__version__},
        "spec": _plain(spec),
        "counterfactual": other,
        "n_frames": clip.n_frames,
        "fps": str(spec.fps),
        "width": width,
        "height": height,
        "sound": {"sample_rate": sample_rate, "samples": len(samples), "offset_frames": spec.audio_offset},
        "people": [
            _person(clip, [frame for frame in frames if frame.shot == shot], shot, person, other=other)
            for shot in sorted({frame.shot for frame in frames})
            for person in range(spec.people)
        ],
    }
    if spec.aligned:
        content["view"] = [_rounded(frame.view, 6) for frame in frames]
    return content


def _person(clip: Clip, frames: Sequence[ClipFrame], shot: int, person: int, *, other: bool) -> dict[str, Any]:
    """One person in one shot."""
    words = clip.words(person, other=other)
    return {
        "shot": shot,
        "first_frame": frames[0].index,
        "identity": clip.spec.identity(shot, person),
        "speaks": words is not None,
        **(_said(clip, words, person, other=other) if words else {}),
        "frames": _columns(clip, frames, person, words),
    }


def _said(clip: Clip, words: Speech, person: int, *, other: bool) -> dict[str, Any]:
    return {
        "sentence_seed": clip.spec.sentence(person, other=other),
        "voice_seed": clip.spec.voice_seed(person, other=other),
        "voice": asdict(words.voice) if words.voice else None,
        "language": words.language,
        "text": words.text,
        "phonemes": [[p.symbol, round(p.start_s, _DIGITS), round(p.end_s, _DIGITS)] for p in words.phonemes],
        "closed": [_rounded(np.array(span)) for span in closed_intervals(words.phonemes)],
    }


def _columns(clip: Clip, frames: Sequence[ClipFrame], person: int, words: Speech | None) -> dict[str, list]:
    """Per frame, in frame pixels and radians."""
    faces = [frame.faces[person] for frame in frames]
    mouths = np.stack([face.mouth for face in faces])
    times_s = clip.times_s[[frame.index for frame in frames]]
    return {
        "visible": _rounded([face.visible for face in faces]),
        "lip_gap": _rounded([face.truth.lip_gap for face in faces]),
        "mouth_width": _rounded([face.truth.mouth_width for face in faces]),
        "eye_gap": _rounded([face.truth.eye_gap for face in faces]),
        "opening": _rounded(opening(mouths)),
        "viseme": list(viseme_at(words.phonemes if words else (), times_s)),
        **{name: _rounded(mouths[:, i]) for i, name in enumerate(PARAMETERS)},
        **{name: _rounded([getattr(face.pose, name) for face in faces]) for name in _POSE},
        "box": _rounded([face.box for face in faces], 2),
        "points": _rounded([mesh_alignment_points(face.truth.landmarks) for face in faces], 3),
    }


def _write_landmarks(path: Path, frames: Sequence[ClipFrame]) -> None:
    """All landmarks (f, p, 468, 2) float32 in frame pixels."""
    np.savez_compressed(path, landmarks=np.stack([[_mesh(face) for face in frame.faces] for frame in frames]))


def _mesh(face: FaceState) -> np.ndarray:
    return face.truth.landmarks.astype(np.float32)


def _plain(spec: ClipSpec) -> dict[str, Any]:
    """The specification as it comes back from a JSON file."""
    return json.loads(json.dumps(spec.to_json()))


def _rounded(values: Any, digits: int = _DIGITS) -> list:
    return np.asarray(values, np.float64).round(digits).tolist()
