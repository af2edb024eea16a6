import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from latentsync.service import apart, service
from latentsync.service.apart import check_inputs_apart
from latentsync.service.errors import Refusal
from latentsync.service.inspection import check_inputs, sound_length
from latentsync.service.settings import Settings
from latentsync.workers import run_jobs

from ..media.make import numbered_video, tone
from ..wav import write_wav
from .stub import form, picture, sound


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    video, audio = tmp_path / "video.png", tmp_path / "audio.wav"
    video.write_bytes(picture(1))
    audio.write_bytes(sound(tmp_path, 25))
    return video, audio


def refused(video: Path, audio: Path, **settings) -> str:
    with pytest.raises(Refusal) as caught:
        check_inputs(video, audio, Settings(Path("unused"), **settings))
    return str(caught.value)


def test_a_picture_and_a_sound_will_do(files):
    check_inputs(*files, Settings(Path("unused"), max_seconds=1))


def test_lengths_are_limited(files, tmp_path):
    assert "audio.wav is longer than the 0.9 s that are allowed" in refused(*files, max_seconds=0.9)
    long = numbered_video(tmp_path / "long.mp4", 30)
    assert "long.mp4 is longer than the 1.1 s" in refused(long, files[1], max_seconds=1.1)


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".m4a", ".flac", ".ogg", ".ac3"])
def test_the_length_of_a_sound(tmp_path, suffix):
    path = tone(tmp_path / f"a{suffix}", 2.0)
    assert sound_length(path, 99) == pytest.approx(2, abs=0.1)
    assert 0.5 < sound_length(path, 0.5) <= 2.1


def test_a_header_that_lies_is_of_no_use(tmp_path, files):
    path = write_wav(tmp_path / "liar.wav", np.zeros(5 * 16000, np.int16))
    data = bytearray(path.read_bytes())
    data[40:44] = (2**32 - 1).to_bytes(4, "little")  # of unknown length, as streams say
    path.write_bytes(data)
    assert "liar.wav is longer than the 4 s" in refused(files[0], path, max_seconds=4)


def test_frames_are_limited(files):
    assert "has 128 x 32 pixels, expected 4000 at most" in refused(*files, max_pixels=4000)


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{path}'\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{path}</BaseURL></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "txt": "just text\n" * 99,
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["", ".mp4"])
def test_files_that_name_other_files_are_refused(files, tmp_path, kind, suffix):
    secret = numbered_video(tmp_path / "secret.mp4", 3)
    path = tmp_path / f"playlist{suffix}"
    path.write_text(PLAYLISTS[kind].format(path=secret))
    assert "is not a readable video or sound file of a known format" in refused(path, files[1])


def test_what_is_missing_is_told(files, tmp_path):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert "empty.mp4 is not a readable" in refused(empty, files[1])
    assert "has no video stream" in refused(files[1], files[1])
    assert "has no audio stream" in refused(files[0], numbered_video(tmp_path / "mute.mp4", 2))


def crash(settings: Settings, inputs: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_file_that_takes_its_process_down_is_refused(files, monkeypatch):
    monkeypatch.setattr(apart, "_check", crash)
    with pytest.raises(Refusal, match="is damaged, nothing can read it") as caught:
        check_inputs_apart(*files, Settings(Path("unused")))
    assert caught.value.status == 422


def test_a_server_goes_on_after_such_a_file(client, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "check_inputs_apart", check_inputs_apart)
    client = client()
    with monkeypatch.context() as context:
        context.setattr(apart, "_check", crash)
        answer = client.post("/v2/generate", **form(tmp_path))
    assert answer.status_code == 422
    assert answer.json()["detail"] == "face 1.png or speech 1.wav is damaged, nothing can read it; convert it again"
    assert client.post("/v2/generate", **form(tmp_path)).status_code == 201


def test_inspection_apart_says_the_same(files):
    check_inputs_apart(*files, Settings(Path("unused")))
    for video, audio, limits in ((*files, {"max_seconds": 0.5}), (files[1], files[1], {})):
        with pytest.raises(Refusal) as caught:
            check_inputs_apart(video, audio, Settings(Path("unused"), **limits))
        assert caught.value.sentence == refused(video, audio, **limits)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".wav", ".mp3", ".ogg"])
def test_damage_is_never_more_than_a_refusal(tmp_path, suffix):
    """The file with other bytes in some places, often cut off; decoders may crash, this process may not."""
    rng = np.random.default_rng(0)
    speech = tone(tmp_path / "speech.wav", 0.5)
    if suffix in (".mp4", ".mkv"):
        whole = numbered_video(tmp_path / f"whole{suffix}", 12, audio=speech).read_bytes()
    else:
        whole = tone(tmp_path / f"whole{suffix}", 0.5).read_bytes()
    video = tmp_path / "video.png"
    video.write_bytes(picture(1))
    jobs = []
    for i in range(30):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(0, len(data), rng.integers(1, 40))] = rng.integers(0, 256)
        path = tmp_path / f"damaged {i}{suffix}"
        path.write_bytes(data[: rng.integers(1, 2 * len(data))].tobytes())
        jobs += [apart._Inputs(video, path), apart._Inputs(path, path)]
    settings = Settings(Path("unused"))
    done = list(run_jobs(partial(apart._check, settings), jobs, n_workers=1, apart=True, limit_s=20))
    assert len(done) == len(jobs)
    assert [one.failure for one in done if one.failure and not one.lost] == []
