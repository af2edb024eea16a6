"""Clips checked and cached before training."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.build import build_vae
from latentsync.data import inspection
from latentsync.data import prepare as module
from latentsync.data.clips import find_clips
from latentsync.data.latents import MASKED, WHOLE, LatentEncoder
from latentsync.data.prepare import PrepareSettings, prepare, write_unusable
from latentsync.data.windows import Needs
from latentsync.errors import ConfigError
from latentsync.face.mask import fixed_mask
from latentsync.media.ffmpeg import decode_audio
from latentsync.types import Clip
from scripts.make_seeded_checkpoints import VAE_LEVELS, write_vae

from ..media.make import ffmpeg
from .conftest import FRAMES, make_clip

NEEDS = Needs(16, 48, 25)


def settings(cache: Path, resolution: int | None = None, n_workers: int = 1) -> PrepareSettings:
    return PrepareSettings(cache, NEEDS, resolution, n_workers=n_workers)


def entries(cache: Path, kind: str) -> list[Path]:
    """Whole ones; what is still being written has a dot in front."""
    return sorted(path for path in cache.glob(f"{kind}-*/*/*") if not path.name.startswith("."))


def tiny_vae(folder: Path) -> Path:
    write_vae(folder, VAE_LEVELS["tiny"], 0)
    return folder


@pytest.fixture
def no_decoding(monkeypatch):
    def never(*_):
        raise AssertionError("decoded again")

    for place, name in ((inspection, "probe"), (inspection, "count_frames"), (inspection, "decode_audio")):
        monkeypatch.setattr(place, name, never)
    monkeypatch.setattr(module, "decode_resized", never)


@pytest.fixture
def one(folder, tmp_path) -> Path:
    """A folder with a clip of its own."""
    (tmp_path / "one").mkdir()
    shutil.copy(folder / "c.mp4", tmp_path / "one")
    return tmp_path / "one"


def test_clips_with_one_base_name_do_not_mix(folder, whisper, tmp_path):
    calls = []
    clips = find_clips(folder)
    made = prepare(clips, settings(tmp_path, 32), audio=whisper, progress=lambda *call: calls.append(call)).clips
    assert [clip.clip for clip in made] == clips
    assert [clip.n_frames for clip in made] == [FRAMES, FRAMES + 5, FRAMES + 10]
    for clip in made:
        samples = np.array(decode_audio(clip.clip.path, tmp_path))
        np.testing.assert_array_equal(np.load(clip.mel), inspection.mel_spectrogram(samples))
        np.testing.assert_array_equal(np.load(clip.features), whisper.features(samples).numpy().astype(np.float16))
        assert np.load(clip.frames).shape == (clip.n_frames, 32, 32, 3)
    assert [call for call in calls if call[0] == "clips"] == [("clips", n, 3) for n in (1, 2, 3)]
    assert calls[-1] == ("features", 3, 3)


def test_what_is_cached_is_not_made_again(prepared, request):
    first = prepared(48)
    request.getfixturevalue("no_decoding")
    start = time.perf_counter()
    assert prepared(48) == first
    assert time.perf_counter() - start < 1


def test_latents_are_the_vaes_of_whole_and_masked_frames(folder, tmp_path):
    vae = build_vae(tiny_vae(tmp_path / "vae"))
    mask = fixed_mask(64)
    encoder = LatentEncoder(vae, mask)
    made = prepare(find_clips(folder), settings(tmp_path, 64), latents=encoder).clips
    for clip in made:
        pixels = torch.from_numpy(np.load(clip.frames)[5:6]).permute(0, 3, 1, 2) / 127.5 - 1
        latents = np.load(clip.latents)
        assert latents.shape == (clip.n_frames, 2, 2, 4, 8, 8) and latents.dtype == np.float16
        with torch.no_grad():
            for kind, given in ((WHOLE, pixels), (MASKED, pixels * mask)):
                found = vae.encode(given).latent_dist
                for value, expected in zip(latents[5, kind], (found.mean, found.std), strict=True):
                    np.testing.assert_allclose(value, 0.18215 * expected[0], rtol=2e-3, atol=2e-3)
    again = prepare(find_clips(folder), settings(tmp_path, 64), latents=encoder).clips
    assert again == made
    with torch.no_grad():
        vae.quant_conv.bias.add_(1)
    changed = prepare(find_clips(folder), settings(tmp_path, 64), latents=encoder).clips
    assert not {clip.latents for clip in changed} & {clip.latents for clip in made}


def test_a_changed_file_gets_new_entries_and_a_moved_one_keeps_its_own(one, tmp_path):
    cache = tmp_path / "cache"
    before = prepare(find_clips(one), settings(cache)).clips[0]
    (one / "c.mp4").rename(one / "moved.mp4")
    assert prepare(find_clips(one), settings(cache)).clips[0].mel == before.mel
    make_clip(one / "moved.mp4", 50, seed=9)
    after = prepare(find_clips(one), settings(cache)).clips[0]
    assert after.mel != before.mel and after.n_frames == 50


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b""], ids=["half", "empty"])
def test_damaged_entries_are_made_again(one, tmp_path, whisper, damage):
    cache = tmp_path / "cache"
    clip = prepare(find_clips(one), settings(cache, 32), audio=whisper).clips[0]
    inspections = entries(cache, "inspections")
    paths = [clip.mel, clip.features, clip.frames, *inspections]
    whole = [path.read_bytes() for path in paths]
    for path, data in zip(paths, whole, strict=True):
        path.write_bytes(damage(data))
    assert prepare(find_clips(one), settings(cache, 32), audio=whisper).clips == [clip]
    assert [path.read_bytes() for path in paths] == whole


def test_a_kill_leaves_no_half_entry(folder, tmp_path):
    code = (
        "import sys; from pathlib import Path; from latentsync.data.clips import find_clips; "
        "from latentsync.data.prepare import *; from latentsync.data.windows import Needs; "
        "prepare(find_clips(sys.argv[1]), PrepareSettings(Path(sys.argv[2]), Needs(16, 48), 256, n_workers=1))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder), str(tmp_path)])
    while not list(tmp_path.glob("frames-*/*/*")):  # half-made ones too
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(entries(tmp_path, "frames")) < 3
    for path in entries(tmp_path, "frames") + entries(tmp_path, "mel"):
        assert np.load(path).size
    assert len(prepare(find_clips(folder), settings(tmp_path, 256)).clips) == 3


UNUSABLE = {
    "fast.mp4": "30 fps; run the resample stage",
    "fluttering.mp4": "pictures not at multiples of 0.04 s from the start; run the resample stage",
    "late.mp4": "pictures not at multiples of 0.04 s from the start; run the resample stage",
    "missing.mp4": "cannot be read (No such file or directory)",
    "mute.mp4": "no sound",
    "open.mp4": "shows wrong pictures after jumps (open GOP); run the resample stage",
    "quiet.mp4": "1.41 s of sound, less than the 1.60 s that are needed",
    "short.mp4": "34 frames, fewer than the 48 that are needed",
    "silent.mp4": "nothing but silence",
    "text.mp4": "is not a readable video",
    "truncated.mp4": "is not a readable video",
    "truncated_later.mp4": "cannot be decoded by decord",
    "wide.mp4": "128 x 96 pixels, not square; run the alignment stage",
}


@pytest.fixture(scope="module")
def unusable(folder, tmp_path_factory) -> list[Clip]:
    at = tmp_path_factory.mktemp("unusable")
    good = folder / "c.mp4"
    copied = ("-c", "copy")
    make_clip(at / "fast.mp4", 90, rate=30)
    make_clip(at / "wide.mp4", 50, width=128)
    make_clip(at / "short.mp4", 34)
    make_clip(at / "quiet.mp4", 60, seconds=1.4)
    moving = ("-f", "lavfi", "-i", "testsrc2=size=96x96:rate=25:duration=2.4")
    open_groups = ("-bf", "3", "-g", "12", "-sc_threshold", "0", "-x264-params", "open-gop=1")
    joined = ("-map", "0:v", "-map", "1:a", "-shortest")
    ffmpeg(*moving, "-i", good, *joined, "-c:v", "libx264", *open_groups, at / "open.mp4")
    uneven = r"setpts=PTS+if(mod(floor(N/10)\,2)\,0.03/TB\,0)"
    ffmpeg("-i", good, "-vf", uneven, "-enc_time_base", "1/100", at / "fluttering.mp4")
    ffmpeg("-itsoffset", "0.2", "-i", good, "-i", good, "-map", "0:v", "-map", "1:a", *copied, at / "late.mp4")
    ffmpeg("-i", good, "-an", *copied, at / "mute.mp4")
    ffmpeg("-i", good, "-c:v", "copy", "-af", "volume=0", at / "silent.mp4")
    (at / "text.mp4").write_text("not a video\n" * 100)
    data = good.read_bytes()
    (at / "truncated_later.mp4").write_bytes(data[: len(data) * 3 // 4])
    ffmpeg("-i", good, *copied, at / "slow.mp4")  # its index is at the end
    (at / "truncated.mp4").write_bytes((at / "slow.mp4").read_bytes()[: len(data) // 2])
    (at / "slow.mp4").unlink()
    return [*find_clips(at), Clip("missing.mp4", at / "missing.mp4")]


def test_each_unusable_clip_is_left_out_with_its_reason(folder, unusable, tmp_path, caplog):
    clips = [*unusable, *find_clips(folder)]
    with caplog.at_level(logging.WARNING, logger=module.__name__):
        result = prepare(clips, settings(tmp_path, n_workers=2))
    assert [clip.clip for clip in result.clips] == find_clips(folder)
    reasons = {clip.key: reason for clip, reason in result.unusable}
    assert reasons.keys() == UNUSABLE.keys()
    for key, reason in reasons.items():
        assert reason.startswith(UNUSABLE[key]) and "\n" not in reason, (key, reason)
    assert "3 of 16 clips can be used, not fast.mp4: 30 fps" in caplog.text and "and 8 more" in caplog.text
    write_unusable(tmp_path / "unusable.csv", result.unusable)
    lines = (tmp_path / "unusable.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 14 and lines[0] == "clip,path,reason" and lines[1].endswith(UNUSABLE["fast.mp4"])


def test_no_usable_clip_is_an_error_with_the_commonest_reason(unusable, tmp_path):
    with pytest.raises(ConfigError, match=r"none of 13 clips.*most often \(2\).*\.mp4: "):
        prepare(unusable, settings(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        prepare(unusable, settings(tmp_path / "file/cache"))


def test_of_each_clip_so_many_frames_are_kept_at_even_distances(folder, tmp_path):
    clips = find_clips(folder)[:1]
    every, some, few = (
        prepare(clips, replace(settings(tmp_path, 32), frames_per_clip=count)).clips[0] for count in (0, 4, FRAMES + 1)
    )
    frames = np.load(every.frames)
    np.testing.assert_array_equal(np.load(some.frames), frames[[0, 25, 49, 74]])
    np.testing.assert_array_equal(np.load(few.frames), frames)
    assert len({every.frames, some.frames, few.frames}) == 3
