"""Samples by number, of SyncNet and of the U-Net."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from latentsync.data import syncnet_dataset, unet_dataset
from latentsync.data.clips import TrainingClip
from latentsync.data.frames import read_frames
from latentsync.data.mel import frames_covered, mel_window
from latentsync.data.sampler import GlobalBatches
from latentsync.data.syncnet_dataset import SyncNetDataset
from latentsync.data.unet_dataset import UNetDataset
from latentsync.errors import MediaError
from latentsync.types import Clip

from ..media.make import number

SEED = 7


def syncnet(clips, **changes) -> SyncNetDataset:
    return SyncNetDataset(clips, **{"num_frames": 16, "resolution": 96, "lower_half": False, "seed": SEED, **changes})


def unet(clips, **changes) -> UNetDataset:
    values = {"num_frames": 16, "resolution": 96, "audio_feat_length": (2, 2), "with_mel": True, "seed": SEED}
    return UNetDataset(clips, **{**values, **changes})


def numbers(frames: torch.Tensor) -> list[int]:
    """What frames (n, 3, h, w) show."""
    return [number(frame.permute(1, 2, 0).numpy()) for frame in frames]


def window(start: int) -> list[int]:
    return list(range(start, start + 16))


@pytest.mark.parametrize("resolution", [None, 48])
def test_frames_are_those_of_their_numbers(prepared, resolution):
    clips = prepared(resolution)
    for clip in clips:
        indices = [3, 70, 71, 12, clip.n_frames - 1]
        frames = read_frames(clip, indices, 48)
        assert frames.shape == (5, 3, 48, 48) and frames.dtype == torch.uint8 and frames.is_contiguous()
        assert numbers(frames) == indices


def test_the_frame_cache_changes_no_sample(prepared):
    for n in range(4):
        torch.testing.assert_close(
            unet(prepared(None), resolution=48)[n], unet(prepared(48), resolution=48)[n], rtol=0, atol=0
        )


@pytest.mark.parametrize("make", [syncnet, unet])
def test_samples_do_not_depend_on_who_makes_them(prepared, make):
    dataset = make(prepared(None))

    def samples(n_workers: int, world_size: int) -> list[dict]:
        ranks = [
            DataLoader(
                dataset,
                batch_sampler=GlobalBatches(4 // world_size, rank, world_size, start=8, stop=16),
                num_workers=n_workers,
            )
            for rank in range(world_size)
        ]
        batches = [batch for parts in zip(*ranks, strict=True) for batch in parts]
        return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}

    alone = samples(0, 1)
    assert alone["number"].tolist() == list(range(8, 16))
    for n_workers, world_size in ((1, 1), (2, 1), (0, 2), (2, 4)):
        torch.testing.assert_close(samples(n_workers, world_size), alone, rtol=0, atol=0)
    torch.testing.assert_close(dataset[11]["mel"], alone["mel"][3], rtol=0, atol=0)


def test_syncnet_labels_are_balanced_and_tell_the_truth(prepared):
    dataset = syncnet(prepared(None))
    for n in range(8):
        sample, clip = dataset[n], dataset.clip(n)
        shown, (start,) = numbers(sample["frames"][0]), sample["start"].tolist()
        assert sample["label"] == 1 - n % 2 and sample["label"].dtype == torch.float32
        assert shown == window(shown[0])
        assert (shown[0] == start) if n % 2 == 0 else (abs(shown[0] - start) >= 5)
        np.testing.assert_array_equal(sample["mel"][0].numpy(), mel_window(np.load(clip.mel), start, 16))


def test_syncnet_windows_keep_their_distance_and_their_sound(prepared):
    clips = prepared(None)
    for windows in (1, 2, 4):
        dataset = syncnet(clips, windows=windows)
        seen = set()
        for n in range(500):
            clip = dataset.clip(n)
            n_columns = np.load(clip.mel, mmap_mode="r").shape[1]
            sound, pictures = dataset.starts(n, clip, n_columns)
            assert len(sound) == len(pictures) == windows
            assert min(sound + pictures) >= 0
            assert max(sound) <= frames_covered(n_columns, 16) and max(pictures) <= clip.n_frames - 16
            if windows == 1:
                assert sound == pictures if n % 2 == 0 else abs(sound[0] - pictures[0]) >= 5
            else:
                assert sound == pictures and np.diff(np.sort(sound)).min() >= 5
            seen |= set(sound)
        assert seen >= set(range(56))


def test_several_windows_of_a_clip_are_all_in_sync(prepared):
    dataset = syncnet(prepared(None), windows=3, lower_half=True)
    sample = dataset[1]
    assert sample["frames"].shape == (3, 16, 3, 48, 96) and sample["mel"].shape == (3, 1, 80, 52)
    assert sample["label"] == 1
    shown = [numbers(frames)[0] for frames in sample["frames"]]
    assert shown == sample["start"].tolist()


def test_the_lower_half_is_the_lower_half(prepared):
    whole, half = (syncnet(prepared(None), lower_half=lower)[2]["frames"] for lower in (False, True))
    torch.testing.assert_close(half, whole[..., 48:, :], rtol=0, atol=0)


def test_augmentation_changes_training_samples_alone_and_all_windows_alike(prepared):
    plain, changed = (syncnet(prepared(None), windows=3, augment=augment) for augment in (False, True))
    for n in range(4):
        a, b = plain[n], changed[n]
        assert a["start"].tolist() == b["start"].tolist() and a["label"] == b["label"]
        assert b["frames"].shape == a["frames"].shape and b["frames"].dtype == torch.uint8
        assert not torch.equal(a["frames"], b["frames"]) and torch.equal(b["frames"], changed[n]["frames"])
        assert a["mel"].shape == b["mel"].shape and not torch.equal(a["mel"], b["mel"])
        assert torch.equal(b["mel"], changed[n]["mel"])


@pytest.fixture
def paired(prepared) -> list[TrainingClip]:
    """Two clips of equal length as counterparts of each other, the second one's frames 20 numbers later, and a third
    one alone."""
    first, _, third = prepared(48)
    frames = np.load(first.frames)
    later = first.frames.with_name("later.npy")
    np.save(later, np.roll(frames, -20, axis=0))
    other = replace(first, clip=Clip("a/00001.other.mp4", first.clip.path), frames=later)
    return [first, other, third]


def test_what_is_given_of_a_counterfactual_pair_shows_the_other(paired):
    dataset = unet(paired, resolution=48, counterfactual=True)
    seen = set()
    for n in range(12):
        sample, clip = dataset[n], dataset.clip(n)
        target, masked, reference = (numbers(sample[name]) for name in ("target", "masked", "reference"))
        seen.add(clip.clip.key)
        if clip is paired[2]:
            assert masked == target and abs(reference[0] - target[0]) >= 16
        else:
            later = 20 if clip is paired[0] else -20
            assert masked == reference == [(i + later) % clip.n_frames for i in target]
        shown = (sample["start"] + (20 if clip is paired[1] else 0)) % clip.n_frames
        assert target[0] == shown
        np.testing.assert_array_equal(sample["mel"].numpy(), mel_window(np.load(clip.mel), sample["start"], 16))
    assert seen == {clip.clip.key for clip in paired}


def test_without_the_option_pairs_are_clips_like_any(paired):
    plain = unet(paired, resolution=48)
    assert all("masked" not in plain[n] for n in range(6))


def test_unet_windows_never_overlap_and_have_their_sound(prepared, whisper):
    dataset = unet(prepared(None))
    for n in range(500):
        clip = dataset.clip(n)
        n_columns = np.load(clip.mel, mmap_mode="r").shape[1]
        target, reference = dataset.starts(n, clip, n_columns)
        assert abs(target - reference) >= 16 and 0 <= reference <= clip.n_frames - 16
        assert 0 <= target <= frames_covered(n_columns, 16)
    sample, clip = dataset[5], dataset.clip(5)
    start = sample["start"]
    assert numbers(sample["target"]) == window(start)
    assert numbers(sample["reference"]) == window(dataset.starts(5, clip, np.load(clip.mel).shape[1])[1])
    features = torch.from_numpy(np.load(clip.features))
    tokens = [whisper.get_sliced_feature(features, frame, Fraction(25))[0] for frame in window(start)]
    torch.testing.assert_close(sample["audio"], torch.stack(tokens), rtol=0, atol=0)
    assert sample["audio"].shape == (16, 30, 32) and sample["audio"].dtype == torch.float16
    np.testing.assert_array_equal(sample["mel"].numpy(), mel_window(np.load(clip.mel), start, 16))
    assert "mel" not in unet(prepared(None), with_mel=False)[5]


@pytest.mark.parametrize("num_frames", [5, 16])
def test_the_shortest_clips_allowed_serve_every_draw(prepared, num_frames):
    clip = prepared(None)[0]
    for needs, dataset in (
        (unet_dataset.needs(num_frames), unet([clip], num_frames=num_frames)),
        (syncnet_dataset.needs(num_frames), syncnet([clip], num_frames=num_frames)),
        (syncnet_dataset.needs(num_frames, 3, 4), syncnet([clip], num_frames=num_frames, windows=3, min_distance=4)),
    ):
        shortest = replace(clip, n_frames=needs.frames)
        for n in range(300):
            dataset.starts(n, shortest, 1 + needs.frames * 640 // 200)


def test_what_is_missing_is_told(prepared):
    clip = prepared(None)[0]
    with pytest.raises(ValueError, match="Whisper's features"):
        unet([replace(clip, features=None)])
    with pytest.raises(ValueError, match="expected clips"):
        syncnet([])
    gone = replace(clip, clip=replace(clip.clip, path=clip.clip.path.with_name("gone.mp4")))
    with pytest.raises(MediaError, match=r"gone\.mp4 cannot be decoded"):
        syncnet([gone])[0]
    with pytest.raises(MediaError, match=r"00001\.mp4: its cached frames .* cannot be read"):
        syncnet([replace(clip, frames=clip.mel.with_name("gone.npy"))])[0]
    with pytest.raises(ValueError, match="cached at 96 pixels, got 48"):
        syncnet(prepared(48))[0]


def test_reading_leaves_nothing_open(prepared):
    clips, process, rng = prepared(None), psutil.Process(), np.random.default_rng(0)

    def read(n: int) -> tuple[int, float]:
        for _ in range(n):
            clip = clips[rng.integers(len(clips))]
            start = int(rng.integers(clip.n_frames - 15))
            assert read_frames(clip, window(start), 96).shape[0] == 16
        return process.num_fds(), process.memory_info().rss / 2**20

    (files, mebibytes), (files_later, mebibytes_later) = read(50), read(300)
    assert files_later == files and mebibytes_later < mebibytes + 30
