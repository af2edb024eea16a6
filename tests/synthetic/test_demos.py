"""The pairs in assets/: small, and in sync."""

from pathlib import Path

import pytest

from latentsync.face.detect import MediaPipeDetector
from latentsync.media.ffmpeg import probe, probe_audio
from scripts.make_demos import DEMOS
from scripts.measure_talking_heads import measure_file

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@pytest.mark.parametrize("number", range(1, len(DEMOS) + 1))
def test_a_pair_is_small_and_complete(number):
    video, sound = ASSETS / f"demo{number}_video.mp4", ASSETS / f"demo{number}_audio.wav"
    assert video.stat().st_size + sound.stat().st_size < 1e6
    assert probe(video).audio is not None
    assert (probe_audio(sound).sample_rate, probe_audio(sound).channels) == (16000, 1)


def test_the_finished_file_has_lips_and_sound_at_the_same_time():
    with MediaPipeDetector() as detector:
        found = measure_file(ASSETS / "demo3_video.mp4", detector)
    assert found.misses() == []
    assert found.picture.correlation > 0.9
