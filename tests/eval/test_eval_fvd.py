"""The Fréchet video distance of folders through the command."""

from pathlib import Path

import numpy as np
import pytest

from eval import eval_fvd
from eval.eval_fvd import cli
from latentsync import REPO_ROOT, build_metrics
from latentsync.media.ffmpeg import decode_frames

from ..command import write_clip
from ..metrics.i3d import write_i3d
from .test_inference_videos import Here


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Folders: `real`, two demos; `dark`, the same with less light."""
    root = tmp_path_factory.mktemp("videos")
    for folder, light in (("real", 1), ("dark", 0.5)):
        (root / folder).mkdir()
        for number in (1, 2):
            source = REPO_ROOT / f"assets/demo{number}_video.mp4"
            frames = np.stack([frame[::2, ::2] for frame in decode_frames(source, first=16, n_frames=24)])
            write_clip(root / folder / f"it's {number}.mp4", (light * frames).astype(np.uint8))
    return root


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(build_metrics, "AUXILIARY", tmp_path)
    return write_i3d(tmp_path / "i3d_torchscript.pt")


@pytest.fixture
def fvd(monkeypatch, capsys, weights):
    """The command in this process: status, what it tells and the lines of its errors."""
    monkeypatch.setattr(eval_fvd, "choose_executor", lambda _: Here())

    def run(real, fake, *flags) -> tuple[int, list[str], list[str]]:
        status = cli(["--real_videos", str(real), "--fake_videos", str(fake), "--device", "cpu", "--quiet", *flags])
        told = capsys.readouterr()
        return status, told.out.splitlines(), told.err.splitlines()

    return run


def test_the_distance_of_folders(fvd, videos):
    assert fvd(videos / "real", videos / "real") == (0, ["FVD: 0.000", "2 real and 2 fake videos"], [])
    status, (distance, _), _ = fvd(videos / "real", videos / "dark")
    assert status == 0 and float(distance.removeprefix("FVD: ")) > 0.05


def test_what_is_known_is_not_done_again(fvd, videos, tmp_path, monkeypatch):
    out = ("--out_dir", str(tmp_path / "out"))
    first = fvd(videos / "real", videos / "dark", *out)
    done = []
    monkeypatch.setattr(eval_fvd, "face_clip", lambda path, *_: done.append(path) or np.zeros((16, 224, 224, 3), "u1"))
    assert fvd(videos / "real", videos / "dark", *out) == first and done == []
    next((tmp_path / "out").rglob("dark/*2.mp4.npy")).unlink()  # as if it had been killed before
    fvd(videos / "real", videos / "dark", *out)
    assert done == [videos / "dark/it's 2.mp4"]
    fvd(videos / "real", videos / "real", *out, "--first_frame", "3")
    assert len(done) == 3


def test_what_fails_is_told_and_the_others_count(fvd, videos, tmp_path):
    listing = tmp_path / "list.txt"
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    paths = [*(videos / "dark").glob("*.mp4"), tmp_path / "broken.mp4"]
    listing.write_text("\n".join(map(str, paths)))
    status, told, (line,) = fvd(videos / "real", listing)
    assert status == 1 and told[1] == "2 real and 2 fake videos"
    assert line.startswith(f"failed: {tmp_path / 'broken.mp4'}: ")

    listing.write_text("\n".join(map(str, paths[1:])))
    status, told, lines = fvd(videos / "real", listing)
    assert (status, told) == (2, []) and lines[0].startswith("failed: ")
    assert lines[1] == f"error: {listing}: expected two usable videos or more, got 1; add videos"


def test_mistakes_are_told_before_anything_is_decoded(fvd, videos, weights, tmp_path, monkeypatch):
    monkeypatch.delattr(eval_fvd, "face_clip")
    one = next((videos / "real").iterdir())
    few = f"error: {one}: expected two usable videos or more, got 1; add videos"
    assert fvd(videos / "real", one) == (2, [], [few])
    (status, _, (line,)) = fvd(tmp_path, videos / "real")
    assert (status, line) == (2, f"error: {tmp_path} holds no .mp4 file; name the folder of the clips")
    lost = tmp_path / "lost.mp4"
    (status, _, (line,)) = fvd(lost, videos / "real")
    assert (status, line) == (2, f"error: {lost} does not exist; expected a video, so correct its name")
    weights.unlink()
    (status, _, (line,)) = fvd(videos / "real", videos / "dark")
    assert status == 2 and line.startswith(f"error: {weights}: no such file; fetch it by setup_env.sh --train or from")


def test_too_few_frames_for_i3d_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        cli(["--real_videos", "a", "--fake_videos", "b", "--num_frames", "8"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: --num_frames 8: expected 9 or more; see --help\n"
