"""What must come out is known: generators that repeat the picture, and sound that changes in one place."""

from copy import copy, deepcopy
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from latentsync.diffusion import latents as lat
from latentsync.face.align import frame_to_square
from latentsync.face.detect import EYES, LEFT_BROW, LIPS, NOSE, RIGHT_BROW, FaceBox, MediaPipeDetector
from latentsync.face.mask import fixed_mask
from latentsync.face.paste import paste_weight
from latentsync.media.ffmpeg import VideoWriter, decode_frames
from latentsync.types import SyncedFace
from latentsync.whisper.audio2feature import window_indices

from ..face.conftest import face_points, smooth_frame
from ..wav import write_wav
from .conftest import KnownFaces, write_sound
from .test_lipsync_pipeline import Copycat, LipsyncPipeline, Recorder, written  # noqa: F401

N_FRAMES = 3


class PosedFaces(KnownFaces):
    """Faces in a given pose: `scale` frame pixels per pixel of the 256 crop. They move a little every frame."""

    def __init__(self, centre: tuple[float, float], scale: float, degrees: float) -> None:
        super().__init__(lambda index: (centre[0] + 0.37 * scale * index, centre[1] - 0.21 * scale * index))
        self.scale, self.degrees = scale, degrees

    def boxes(self, frame: np.ndarray, *, again: bool = False) -> list[FaceBox]:
        centres = [(found.box[:2] + found.box[2:]) / 2 for found in super().boxes(frame, again=again)]
        return [FaceBox(np.concatenate([c - 100 * self.scale, c + 100 * self.scale]), 1.0) for c in centres]

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        points = face_points(self.place(self.index), scale=self.scale, degrees=self.degrees)
        left, right, nose = points
        down = nose - (left + right) / 2
        landmarks = np.tile(nose, (468, 1))
        for indices, where in ((LEFT_BROW, left), (RIGHT_BROW, right), (NOSE, nose)):
            landmarks[list(indices)] = where
        landmarks[list(LIPS)], landmarks[list(EYES)] = nose + down, nose - 0.6 * down
        return landmarks


class PosedCopycat(Copycat):
    """Also keeps the poses."""

    def sync_windows(self, windows, *rest, **settings):
        synced = super().sync_windows(windows, *rest, **settings)
        self.poses = [*getattr(self, "poses", []), *(face.pose.matrix for face in synced)]
        return synced


@pytest.mark.parametrize(
    ("size", "centre", "scale", "degrees"),
    [
        ((640, 480), (300, 240), 0.5, 0),
        ((640, 480), (320, 250), 0.8, 35),
        ((720, 1280), (350, 700), 1.3, -20),
        ((1280, 720), (1150, 300), 1.0, 10),  # partly outside
        ((1280, 720), (640, 360), 1.0, 180),
        ((3840, 2160), (2900, 1100), 3.5, 12),
        ((3840, 2160), (500, 1700), 0.4, -50),
    ],
    ids=str,
)
def test_a_perfect_generator_changes_nothing(networks, tmp_path, written, size, centre, scale, degrees):  # noqa: F811
    width, height = size
    frame = smooth_frame(height, width, seed=5, cells=9)
    video = tmp_path / "in.mkv"
    with VideoWriter(video, width, height, 25, crf=0, preset="ultrafast") as writer:
        for _ in range(N_FRAMES):
            writer.write(frame)
    sound = write_sound(tmp_path / "in.wav", N_FRAMES / 25)
    pipeline = PosedCopycat(
        networks.vae,
        networks.audio_encoder,
        networks.unet,
        networks.scheduler,
        resolution=256,
        detector=lambda: PosedFaces(centre, scale, degrees),
    )
    pipeline(video, sound, tmp_path / "out.mkv")
    mask = fixed_mask(256)
    weight, hole = paste_weight(mask), 1 - mask[0].numpy()
    assert len(written) == len(pipeline.poses) == N_FRAMES
    for before, after, matrix in zip(decode_frames(video), written, pipeline.poses, strict=True):
        square = frame_to_square(matrix, 256)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        touched = cv2.dilate(cv2.warpAffine(weight, square, size, flags=flags), np.ones((3, 3))) > 0
        inside = cv2.warpAffine(hole, square, size, flags=flags) > 0.99
        assert inside.sum() > 5000 * scale**2
        np.testing.assert_array_equal(after[~touched], before[~touched])
        error = np.square(after[inside].astype(np.float64) - before[inside]).mean()
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 38


def test_one_second_of_sound_changes_only_the_windows_that_hear_it(pipeline, video, tmp_path):
    """Whisper's attention spreads every sound over 30 s, so it is switched off here: what is left hears locally."""
    rng = np.random.default_rng(9)
    samples = (rng.standard_normal(16000 * 5) * 3000).astype(np.int16)
    changed = samples.copy()
    start, stop = 32000, 48000
    changed[start:stop] //= 3  # softer: the loudest moment, which sets the level of all, is elsewhere
    size, crops = 8, []
    for name, sound in (("a", samples), ("b", changed)):
        p = pipeline(cls=Recorder)
        p.audio_encoder = deaf_to_what_is_far(p.audio_encoder)
        generator = torch.Generator().manual_seed(1)
        wav = write_wav(tmp_path / f"{name}.wav", sound)
        p(video, wav, tmp_path / "out.mp4", num_inference_steps=1, num_frames=size, generator=generator)
        crops.append(p.crops)
    # A step of 320 samples is made of five columns 160 apart, each of which hears 200 to either side.
    reach = 2 * 160 + 200
    hears = []
    for frame in range(125):
        steps = window_indices(frame, Fraction(25), (2, 2), 250)
        hears.append((320 * steps.min() - reach < stop) and (320 * steps.max() + reach >= start))
    expected = [any(hears[i // size * size : (i // size + 1) * size]) for i in range(125)]
    different = [not torch.equal(a, b) for a, b in zip(*crops, strict=True)]
    assert expected[40:80] == [True] * 40 and expected.count(True) == 40
    assert different == expected


def deaf_to_what_is_far(encoder):
    """The audio encoder with its attention switched off."""
    local = copy(encoder)
    local.model = deepcopy(encoder.model)
    for block in local.model.blocks:
        for parameter in block.attn.out.parameters():
            torch.nn.init.zeros_(parameter)
    return local


class NextMouth(LipsyncPipeline):
    """Gives every frame the mouth of another moment, 80 ms away: the head has hardly moved."""

    def sync_windows(self, windows, mask, noise, generator, **settings):
        (window,) = windows
        crops = [face.crop for face in window.faces]
        pairs = list(zip(window.faces, crops[2:] + crops[-4:-2], strict=True))[window.keep]
        return [SyncedFace(face.index, face.frame, face.pose, lat.to_pixel_values(crop)) for face, crop in pairs]


@pytest.mark.media
def test_landmarks_outside_the_mouth_region_do_not_move(networks, footage, tmp_path, written):  # noqa: F811
    """With other mouths pasted, brows and eyes are where they were: seam and shift would move them."""
    video, n_frames = footage("demo1_video.mp4"), 16
    sound = write_sound(tmp_path / "in.wav", n_frames / 25)
    pipeline = NextMouth(networks.vae, networks.audio_encoder, networks.unet, networks.scheduler, resolution=256)
    pipeline(video, sound, tmp_path / "out.mp4")
    outside, lips = [*LEFT_BROW, *RIGHT_BROW, *EYES], list(LIPS)
    moved, spoken = [], []
    with MediaPipeDetector() as detector:
        for before, after in zip(decode_frames(video, n_frames=n_frames), written, strict=True):
            box = detector.boxes(before)[0].box
            a, b = detector.landmarks(before, box), detector.landmarks(after, box)
            change = np.linalg.norm(a - b, axis=1) / np.ptp(a[:, 1])  # of the face's height
            moved.append(change[outside].mean())
            spoken.append(change[lips].mean())
    assert max(moved) < 0.012 and np.mean(moved) < 0.006
    assert np.mean(spoken) > 2 * np.mean(moved)  # the mouths did change
