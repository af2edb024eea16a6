"""The whole way from a video and a sound to a file, with tiny seeded networks and known faces."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentsync.diffusion import latents as lat
from latentsync.errors import ConfigError, MemoryLimitError, NoFaceError
from latentsync.face.paste import FacePaster
from latentsync.media.ffmpeg import decode_audio, decode_frames, probe
from latentsync.options import InferenceOptions
from latentsync.pipelines import lipsync_pipeline
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline, frame_count
from latentsync.pipelines.report import LipsyncReport
from latentsync.types import SyncedFace

from .conftest import RESOLUTION, KnownFaces, write_sound, write_video

FAST = {"num_inference_steps": 2, "num_frames": 8}


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(decode_frames(path)))


class Copycat(LipsyncPipeline):
    """Gives back the reference crops: what a perfect generator makes of the video's own sound."""

    def sync_windows(self, windows, mask, noise, generator, **settings):
        return [
            SyncedFace(face.index, face.frame, face.pose, lat.to_pixel_values(face.crop))
            for window in windows
            for face in window.faces[window.keep]
        ]


@pytest.mark.parametrize(
    ("n_samples", "rate", "frames"),
    [
        (1, 25, 1),
        (640, 25, 1),
        (641, 25, 2),
        (16000, 25, 25),
        (153600, 25, 240),
        (16000, Fraction(30000, 1001), 30),
        (16000 * 3600, Fraction(24000, 1001), 86314),
    ],
)
def test_the_video_is_as_long_as_the_sound(n_samples, rate, frames):
    rate = Fraction(rate)
    assert frame_count(n_samples, rate) == frames
    assert 0 <= frames / rate - Fraction(n_samples, 16000) < 1 / rate or frames == 1


@pytest.mark.parametrize(("seconds", "frames"), [(0.04, 3), (0.5, 14), (1, 27), (5, 127), (10.02, 252), (60, 1502)])
def test_the_public_frame_count(seconds, frames):
    assert frame_count(round(seconds * 16000), Fraction(25), exact=False) == frames


def test_a_run_gives_a_video_of_the_sounds_length_with_its_sound(pipeline, video, sound, tmp_path):
    seen = []
    report = pipeline()(video, sound, tmp_path / "out.mp4", **FAST, progress=lambda *now: seen.append(now))
    info = probe(tmp_path / "out.mp4")
    assert report == LipsyncReport(frames=23, faceless=[])
    assert len(frames_of(tmp_path / "out.mp4")) == 23
    assert (info.width, info.height, info.rate) == (160, 128, 25)
    assert info.audio.codec == "aac" and info.audio.sample_rate == 16000
    assert seen == [(i, 23) for i in range(1, 24)]
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


@pytest.fixture
def written(monkeypatch) -> list[np.ndarray]:
    """The frames that reach the encoder, which is left out."""
    frames: list[np.ndarray] = []

    class Keeper:
        def __init__(self, *_, **__) -> None: ...

        def __enter__(self) -> "Keeper":
            return self

        def __exit__(self, *_) -> None: ...

        def write(self, frame: np.ndarray) -> None:
            frames.append(frame)

    monkeypatch.setattr(lipsync_pipeline, "VideoWriter", Keeper)
    return frames


def test_only_the_mouth_region_changes(pipeline, video, sound, tmp_path, written):
    pipeline()(video, sound, tmp_path / "out.mp4", **FAST)
    before, after = frames_of(video)[:23].astype(int), np.stack(written).astype(int)
    change = np.abs(after - before).max(axis=(0, 3))
    # A nose at (80, 60) and brows 20 pixels apart put the mask's hole at rows 56-85 and columns 64-97.
    rows, columns = np.nonzero(change)
    assert rows.min() >= 52 and rows.max() <= 89 and columns.min() >= 60 and columns.max() <= 101
    assert (change[66:80, 72:88] > 0).all()


def test_a_perfect_generator_leaves_the_video_as_it_was(pipeline, video, sound, tmp_path, written):
    pipeline(cls=Copycat)(video, sound, tmp_path / "out.mp4", **FAST)
    before, after = frames_of(video)[:23].astype(float), np.stack(written).astype(float)
    error = ((after - before) ** 2)[:, 56:86, 64:98].mean()
    assert 10 * np.log10(255**2 / error) > 38


def test_the_same_seed_gives_the_same_file(pipeline, video, sound, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        pipeline()(video, sound, tmp_path / name, **FAST, generator=torch.Generator().manual_seed(7))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_one_call_of_a_gpu_is_under_way_while_the_last_ones_frames_go_out(
    pipeline, video, sound, tmp_path, written, monkeypatch
):
    """A device that is asynchronous: results count only after their event has come."""
    log = []

    class Event:
        def synchronize(self):
            log.append("arrived")

    class Watched(Copycat):
        def sync_windows(self, *args, **settings):
            log.append("launched")
            return super().sync_windows(*args, **settings)

    monkeypatch.setattr(lipsync_pipeline, "arrival", lambda device: Event())
    report = pipeline(cls=Watched, place=lambda i: None if i == 0 else (80.0, 60.0))(
        video, sound, tmp_path / "out.mp4", **FAST
    )
    assert report == LipsyncReport(23, [(0, 0)]) and len(written) == 23
    assert log == ["launched", "launched", "arrived", "launched", "arrived", "arrived"]


@pytest.mark.parametrize(("kind", "unfinished"), [("cuda", True), ("mps", False), ("cpu", False)])
def test_only_copies_with_an_event_may_be_unfinished(kind, unfinished):
    """A copy from Apple's GPU that nobody waits for would be read before it is there."""
    calls = []
    tensor = SimpleNamespace(device=torch.device(kind), to=lambda place, **how: calls.append((place, how)))
    lipsync_pipeline.fetch(tensor)
    assert calls == [("cpu", {"non_blocking": unfinished})]
    if kind != "cuda":
        assert lipsync_pipeline.arrival(torch.device(kind)) is None


class Recorder(LipsyncPipeline):
    """Keeps what the networks made."""

    def sync_windows(self, windows, mask, noise, generator, **settings):
        synced = super().sync_windows(windows, mask, noise, generator, **settings)
        self.calls = [*getattr(self, "calls", []), len(windows)]
        self.crops = [*getattr(self, "crops", []), *(face.crop for face in synced)]
        return synced


@pytest.mark.parametrize("options", [None, InferenceOptions(posterior_mean=False)], ids=["mean", "sampled"])
def test_windows_per_call_change_no_result(pipeline, video, sound, tmp_path, options):
    crops = []
    for n in (1, 2, 4):
        p = pipeline(cls=Recorder, options=options)
        generator = torch.Generator().manual_seed(3)
        p(video, sound, tmp_path / "out.mp4", **FAST, generator=generator, windows_per_call=n)
        crops.append(torch.stack(p.crops))
    assert p.calls == [3]
    for other in crops[1:]:
        torch.testing.assert_close(crops[0], other, rtol=0, atol=1e-4 * crops[0].abs().max().item())


def test_frames_without_a_face_pass_through_and_are_reported(pipeline, video, sound, tmp_path, written):
    absent = {0, *range(6, 17)}  # 0.44 s in the middle: too long to bridge
    gaps = pipeline(place=lambda i: None if i in absent else (80.0, 60.0))
    report = gaps(video, sound, tmp_path / "out.mp4", **FAST)
    assert report == LipsyncReport(23, [(0, 0), (6, 16)])
    unchanged = [i for i, frame in enumerate(frames_of(video)[:23]) if np.array_equal(frame, written[i])]
    assert unchanged == sorted(absent)


def test_a_short_gap_is_bridged(pipeline, video, sound, tmp_path, written):
    gap = pipeline(place=lambda i: None if 6 <= i < 16 else (80.0, 60.0))
    report = gap(video, sound, tmp_path / "out.mp4", **FAST)
    assert report == LipsyncReport(23, [])
    assert not any(np.array_equal(frame, written[i]) for i, frame in enumerate(frames_of(video)[:23]))


def test_a_video_without_any_face_is_an_error_and_leaves_the_target_alone(pipeline, video, sound, tmp_path):
    target = tmp_path / "out.mp4"
    target.write_text("earlier")
    with pytest.raises(NoFaceError, match=r"in\.mp4: no face found in any of 23 frames"):
        pipeline(place=lambda i: None)(video, sound, target, **FAST)
    assert target.read_text() == "earlier" and list(tmp_path.iterdir()) == [target]


def test_an_interrupted_run_leaves_nothing(pipeline, video, sound, tmp_path):
    def interrupt(done, total):
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline()(video, sound, tmp_path / "out.mp4", **FAST, temp_dir=tmp_path / "temp", progress=interrupt)
    assert list(tmp_path.iterdir()) == [tmp_path / "temp"] and not list((tmp_path / "temp").iterdir())


def test_every_frame_is_shown_as_it_was_and_as_it_became(pipeline, video, sound, tmp_path, written):
    shown = []
    place = lambda index: None if 10 <= index < 14 else (80.0, 60.0)  # noqa: E731
    show = {"on_frame": lambda before, after: shown.append((before.copy(), after.copy()))}
    options = InferenceOptions(precise_alignment=False)  # no gap is bridged
    pipeline(place, options)(video, sound, tmp_path / "out.mp4", **FAST, **show)
    before, after = (np.stack(frames) for frames in zip(*shown, strict=True))
    assert (before == frames_of(video)[:23]).all()
    assert (after == written).all()
    assert [i for i in range(23) if (before[i] == after[i]).all()] == [10, 11, 12, 13]


def test_what_is_raised_while_a_frame_is_shown_ends_the_run(pipeline, video, sound, tmp_path):
    def show(before, after):
        raise KeyError("shown")

    with pytest.raises(KeyError, match="shown"):
        pipeline()(video, sound, tmp_path / "out.mp4", **FAST, on_frame=show)
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_keeps_what_else_is_in_it(pipeline, video, sound, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    pipeline()(video, sound, tmp_path / "out.mp4", **FAST, temp_dir=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.txt", "out.mp4"]


@pytest.fixture
def short_job(tmp_path) -> tuple[Path, Path, Path]:
    """20 frames of video, 2 s of sound: 50 frames."""
    return write_video(tmp_path / "in.mp4", 20), write_sound(tmp_path / "in.wav", 2.0), tmp_path / "out.mp4"


@pytest.mark.parametrize(
    ("loop", "order"),
    [
        ("pingpong", [*range(20), *reversed(range(20)), *range(10)]),
        ("loop", [*range(20), *range(20), *range(10)]),
        ("freeze", [*range(20), *[19] * 30]),
        ("cut", [*range(20)]),
    ],
)
def test_a_video_shorter_than_its_sound_goes_on_as_asked(pipeline, short_job, written, loop, order):
    report = pipeline(cls=Copycat)(*short_job, **FAST, loop=loop)
    source = frames_of(short_job[0]).astype(int)
    assert report.frames == len(written) == len(order)
    shown = [int(np.abs(source - frame).mean(axis=(1, 2, 3)).argmin()) for frame in written]
    assert shown == order


def test_a_frame_that_comes_again_is_not_searched_again(pipeline, short_job):
    detector = KnownFaces()
    looped = pipeline(cls=Recorder)
    looped.detector = lambda: detector
    looped(*short_job, **FAST)
    assert detector.index == 19 and looped.idle_detectors == [detector]
    assert len(looped.crops) == 50


def test_no_window_spans_the_jump_of_a_loop(pipeline, short_job):
    windows = []

    class Watch(Copycat):
        def sync_windows(self, batch, *rest, **settings):
            windows.extend([[face.index for face in w.faces[w.keep]] for w in batch])
            return super().sync_windows(batch, *rest, **settings)

    pipeline(cls=Watch)(*short_job, **FAST, loop="loop")
    assert all(b - a == 1 for window in windows for a, b in pairwise(window))


def test_the_tail_is_kept_with_silence(pipeline, video, sound, tmp_path):
    report = pipeline(cls=Copycat)(video, sound, tmp_path / "out.mp4", **FAST, tail="keep")
    info = probe(tmp_path / "out.mp4")
    assert (report.frames, report.tail) == (23, 17)
    frames = frames_of(tmp_path / "out.mp4")
    assert len(frames) == 40 and np.abs(frames[39].astype(int) - frames_of(video)[39]).mean() < 4
    assert info.duration_s == pytest.approx(1.6, abs=0.01)
    samples = decode_audio(tmp_path / "out.mp4", tmp_path)
    assert len(samples) / 16000 == pytest.approx(1.6, abs=0.07)
    assert np.abs(samples[: int(0.8 * 16000)]).max() > 5000 and np.abs(samples[int(1.0 * 16000) :]).max() < 50


def test_the_source_rate_can_be_kept(pipeline, sound, tmp_path):
    video = write_video(tmp_path / "in.mp4", 80, rate=Fraction(50))
    p = pipeline(cls=Recorder)
    report = p(video, sound, tmp_path / "out.mp4", **FAST, video_fps=None)
    assert report.frames == 45 and probe(tmp_path / "out.mp4").rate == 50
    assert len(p.crops) == 23  # the networks make every second frame


def test_a_choice_that_does_not_exist_is_explained(pipeline, video, sound, tmp_path):
    for wrong in ({"loop": "around"}, {"tail": "wag"}, {"face": "nose"}):
        with pytest.raises(ConfigError, match="expected"):
            pipeline()(video, sound, tmp_path / "out.mp4", **FAST, **wrong)


def test_too_little_memory_says_what_to_lower(pipeline, video, sound, tmp_path):
    class Greedy(LipsyncPipeline):
        def sync_windows(self, *_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MemoryLimitError, match="--windows_per_call 1"):
        pipeline(cls=Greedy)(video, sound, tmp_path / "out.mp4", **FAST, windows_per_call=2)
    assert list(tmp_path.iterdir()) == []


def test_the_report_says_where_the_time_went(pipeline, video, sound, tmp_path):
    report = pipeline()(video, sound, tmp_path / "out.mp4", **FAST)
    assert set(report.seconds) == {"sound", "decode", "decode and align", "networks", "paste", "encode"}


def test_a_moment_of_sound_gives_one_frame(pipeline, video, tmp_path):
    report = pipeline()(video, write_sound(tmp_path / "in.wav", 0.01), tmp_path / "out.mp4", **FAST)
    assert report.frames == 1


def test_the_public_preset_runs_in_the_public_way(pipeline, video, sound, tmp_path):
    p = pipeline(cls=Recorder, options=InferenceOptions.reference())
    report = p(video, sound, tmp_path / "out.mp4", **FAST)
    assert report.frames == 24  # floor(45 / 2) + 2
    assert p.calls == [1, 1, 1]


def test_random_numbers_are_drawn_in_the_public_order(pipeline, video, sound, tmp_path, monkeypatch):
    shapes = []
    draw = lat.draw
    monkeypatch.setattr(lat, "draw", lambda shape, *rest: shapes.append(tuple(shape)) or draw(shape, *rest))
    side = RESOLUTION // 8
    for n in (1, 4):
        shapes.clear()
        p = pipeline(options=InferenceOptions.reference())
        p(video, sound, tmp_path / "out.mp4", num_inference_steps=1, num_frames=10, windows_per_call=n)
        window, rest = (10, 4, side, side), (4, 4, side, side)
        assert shapes == [(1, 4, 1, side, side), window, window, window, window, rest, rest]


def test_callback_and_old_keywords_are_accepted(pipeline, video, sound, tmp_path):
    calls = []
    pipeline()(
        video_path=str(video),
        audio_path=str(sound),
        video_out_path=str(tmp_path / "out.mp4"),
        video_mask_path=None,
        mask="fix_mask",
        weight_dtype=torch.float16,
        width=RESOLUTION,
        height=RESOLUTION,
        num_frames=16,
        num_inference_steps=4,
        callback=lambda step, timestep, latents: calls.append((step, timestep, tuple(latents.shape))),
        callback_steps=2,
        mask_image_path="latentsync/utils/mask.png",
    )
    assert calls == [(0, 751, (1, 4, 16, 8, 8)), (2, 251, (1, 4, 16, 8, 8))] * 2


@pytest.mark.parametrize("size", [{"height": 64, "width": 72}, {"height": 60}])
def test_sizes_that_cannot_work_are_refused(pipeline, video, sound, tmp_path, size):
    with pytest.raises(ConfigError, match="multiple of 8"):
        pipeline()(video, sound, tmp_path / "out.mp4", **FAST, **size)


def test_faces_are_pasted_in_frame_order(pipeline, video, sound, tmp_path, monkeypatch):
    """The paster smooths a colour over time, so it must see every frame, in order, and one video only."""
    matrices = []
    call = FacePaster.__call__

    def record(self, frame, face, matrix):
        matrices.append(matrix[0, 2])
        return call(self, frame, face, matrix)

    monkeypatch.setattr(FacePaster, "__call__", record)
    pipeline(place=lambda i: (70.0 + i / 4, 60.0))(video, sound, tmp_path / "out.mp4", **FAST)
    assert len(matrices) == 23 and matrices == sorted(matrices, reverse=True)
