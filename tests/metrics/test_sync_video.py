"""Sync confidence of video files, in which squares for faces light up with the sound, or not."""

import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentsync.errors import MeasureError, MediaError, NoFaceError
from latentsync.media.ffmpeg import VideoWriter, decode_audio, decode_frames
from latentsync.metrics.crops import track_crops
from latentsync.metrics.sync_video import SyncEvaluator, SyncOptions, TrackSync, overall
from latentsync.metrics.syncnet_v2 import SyncDistance, score_clip
from latentsync.metrics.tracks import FaceTrack, TrackOptions
from latentsync.models.syncnet_v2 import SyncNetV2

from ..wav import write_wav

HEIGHT, WIDTH, SIDE = 160, 320, 120
LEFT, RIGHT = 20, 180  # columns at which squares stand, from row 10 on


def rhythm(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, n).astype(bool)


def video(path: Path, n_frames: int, lit: dict[int, np.ndarray], sound: np.ndarray | None, first: int = 0) -> Path:
    """A film of squares at these columns, lit as each says, from frame `first` on; it is loud where `sound` says."""
    audio = None
    if sound is not None:
        noise = np.random.default_rng(5).uniform(-9000, 9000, 640 * len(sound))
        audio = write_wav(path.with_suffix(".wav"), noise * np.where(sound, 1, 0.01).repeat(640))
    with VideoWriter(path, WIDTH, HEIGHT, 25, audio=audio, preset="ultrafast") as writer:
        for i in range(n_frames):
            frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            for column, light in lit.items():
                if i >= first:
                    frame[10 : 10 + SIDE, column : column + SIDE] = (255 if light[i] else 0, 200, 0)
            writer.write(frame)
    return path


def squares(frames: np.ndarray) -> list[np.ndarray]:
    """The stand-in for a face detector."""
    found = []
    for frame in frames:
        columns = [column for column in (LEFT, RIGHT) if frame[60, column + 60, 1] > 100]
        boxes = [[column, 10, column + SIDE, 10 + SIDE, 0.99] for column in columns]
        found.append(np.array(boxes, np.float32).reshape(-1, 5))
    return found


class Lights(nn.Module):
    """Sees whether faces are lit, and hears whether there is sound: five numbers, and 1019 zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def encode_lips(self, frames: Tensor) -> Tensor:
        return self._vector(frames[0, 2, :, 80, 112].unfold(0, 5, 1) - 128)

    def encode_sound(self, mfcc: Tensor) -> Tensor:
        return self._vector(mfcc[:, 0, 0, ::4] - 17.5)

    @staticmethod
    def _vector(x: Tensor) -> Tensor:
        return nn.functional.pad(x.sign(), (0, 1019))


def test_the_offset_of_a_person_is_how_early_the_sound_is(tmp_path):
    spoken = rhythm(60)
    path = video(tmp_path / "a film.mkv", 50, {LEFT: spoken[:50]}, spoken[3:53])
    found = SyncEvaluator(Lights(), squares)(path)
    (track,) = found.tracks
    assert found.offset == track.sync.offset == 3 and found.confidence == track.sync.confidence > 1
    assert (track.first, track.n_frames, track.box) == (0, 50, (LEFT, 10, LEFT + SIDE, 10 + SIDE))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a film.mkv", "a film.wav"]


def test_a_track_that_begins_later_is_heard_from_there(tmp_path):
    spoken = rhythm(60)
    path = video(tmp_path / "a.mkv", 60, {RIGHT: spoken}, spoken, first=23)
    (track,) = SyncEvaluator(Lights(), squares)(path).tracks
    assert (track.first, track.n_frames, track.sync.offset) == (23, 37, 0) and track.sync.distance < 0.2
    assert track.box[0] == RIGHT


def test_who_agrees_with_the_sound_answers_or_all_do(tmp_path):
    spoken = rhythm(70)
    path = video(tmp_path / "a.mkv", 60, {LEFT: rhythm(60, seed=1), RIGHT: spoken[:60]}, spoken[2:62])
    best = SyncEvaluator(Lights(), squares)(path)
    public = SyncEvaluator(Lights(), squares, SyncOptions.reference())(path)
    listener, speaker = best.tracks
    assert listener.box[0] == LEFT and (best.offset, best.confidence) == (2, speaker.sync.confidence)
    assert best.by_offset is speaker.sync.by_offset
    offsets, confidences = zip(*((track.sync.offset, track.sync.confidence) for track in public.tracks), strict=True)
    assert public.offset == int(np.mean(offsets)) and public.confidence == pytest.approx(np.mean(confidences))


def test_the_wanted_person_answers_even_where_another_agrees_better(tmp_path):
    spoken = rhythm(70)
    path = video(tmp_path / "a.mkv", 60, {LEFT: rhythm(60, seed=1), RIGHT: spoken[:60]}, None)
    sound = video(tmp_path / "b.mkv", 60, {}, spoken[2:62])
    found = SyncEvaluator(Lights(), squares)(path, sound, wanted=lambda track: track.boxes[0, 0] == LEFT)
    assert [track.box[0] for track in found.tracks] == [LEFT]
    nobody = SyncEvaluator(Lights(), squares)(path, sound, wanted=lambda track: False)
    assert len(nobody.tracks) == 2 and nobody.offset == 2


def of(offset: int, confidence: float, n_frames: int = 60) -> TrackSync:
    return TrackSync(0, n_frames, (0, 0, 1, 1), SyncDistance(torch.zeros(31), offset, 0.0, confidence))


@pytest.mark.parametrize(("offsets", "expected"), [((-1, 0), 0), ((1, 2), 1), ((-2, -1), -1), ((3,), 3)])
def test_the_public_offset_is_a_mean_cut_toward_zero(offsets, expected):
    tracks = [of(offset, 2.0 + i) for i, offset in enumerate(offsets)]
    found = overall(tracks, SyncOptions.reference())
    assert (found.offset, found.confidence) == (expected, 1.5 + len(offsets) / 2)


def test_short_tracks_answer_only_where_none_is_longer():
    options = SyncOptions()
    assert overall([of(1, 9.0, 50), of(2, 3.0, 51), of(3, 4.0, 60)], options).offset == 3
    assert overall([of(1, 9.0, 20), of(2, 3.0, 50)], options).offset == 2
    assert overall([of(1, 9.0, 20), of(2, 3.0, 50)], replace(options, sure_frames=10)).offset == 1


@pytest.fixture(scope="module")
def network() -> SyncNetV2:
    torch.manual_seed(0)
    return SyncNetV2().eval()


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    lit = rhythm(13)
    return video(tmp_path_factory.mktemp("short") / "short.mkv", 13, {LEFT: lit, RIGHT: ~lit}, lit)


@pytest.mark.parametrize("batches", [(1, 3), (5, 64)])
def test_the_network_is_shown_the_crops_with_their_sound(network, short, tmp_path, batches):
    found = SyncEvaluator(network, squares, detector_batch=batches[0], batch=batches[1])(short)
    frames, samples = list(decode_frames(short)), decode_audio(short, tmp_path)
    assert [track.box[0] for track in found.tracks] == [LEFT, RIGHT]
    for track in found.tracks:
        crops = track_crops(frames, FaceTrack(0, np.array([track.box] * 13)), TrackOptions())
        expected = score_clip(network, crops, samples)
        assert track.n_frames == 13 and track.sync.offset == expected.offset
        measured, true = ((sync.confidence, sync.distance) for sync in (track.sync, expected))
        assert measured == pytest.approx(true, rel=1e-4)


def test_public_limits_leave_a_short_clip_without_a_face(network, short):
    with pytest.raises(NoFaceError, match=r"short.mkv: expected a face .* in 51 frames or more"):
        SyncEvaluator(network, squares, SyncOptions.reference())(short)


def test_a_video_without_a_face(tmp_path):
    path = video(tmp_path / "a.mkv", 10, {}, rhythm(10))
    with pytest.raises(NoFaceError) as caught:
        SyncEvaluator(Lights(), squares)(path)
    assert str(caught.value) == (
        f"{path}: expected a face of more than 100 pixels that is seen in 6 frames or more of one shot, got 10 frames "
        "without; use a video with a larger face, or one that stays longer"
    )


def test_a_video_without_sound_is_not_looked_at(tmp_path):
    path = video(tmp_path / "a.mkv", 10, {LEFT: rhythm(10)}, None)
    with pytest.raises(MediaError, match=r"a.mkv has no audio stream"):
        SyncEvaluator(Lights(), lambda frames: pytest.fail("looked"))(path)


@pytest.mark.parametrize(("pictures", "sound", "got"), [(5, 10, "5 frames"), (20, 5, "sound for 5")])
def test_a_video_that_is_too_short(tmp_path, pictures, sound, got):
    path = video(tmp_path / "a.mkv", pictures, {LEFT: rhythm(30)}, rhythm(sound))
    with pytest.raises(MeasureError, match=f"a.mkv: expected 6 frames with sound or more, got {got}"):
        SyncEvaluator(Lights(), squares)(path)


def test_sound_that_ends_before_the_picture(tmp_path):
    spoken = rhythm(40)
    path = video(tmp_path / "a.mkv", 40, {LEFT: spoken}, spoken[:30])
    (track,) = SyncEvaluator(Lights(), squares)(path).tracks
    assert (track.n_frames, track.sync.offset) == (30, 0)
    late = video(tmp_path / "b.mkv", 40, {LEFT: spoken}, spoken[:20], first=15)
    with pytest.raises(MeasureError, match=r"b.mkv: .* got faces from frame 15 on and sound for 20; use a clip"):
        SyncEvaluator(Lights(), squares)(late)


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    spoken = rhythm(12)
    SyncEvaluator(Lights(), squares)(video(tmp_path / "a.mkv", 12, {LEFT: spoken}, spoken))
    assert not list(islice((tmp_path / "temporary").iterdir(), 1))
