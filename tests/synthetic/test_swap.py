"""Swaps: a person, another voice's words, and the answer."""

from dataclasses import replace

import numpy as np
import pytest

from latentsync.errors import ConfigError
from latentsync.media.ffmpeg import probe
from latentsync.synthetic.clip import Clip
from latentsync.synthetic.record import write_clip
from latentsync.synthetic.spec import ClipSpec
from latentsync.synthetic.swap import CHUNK_S, SOUNDS, is_complete, shuffled, sound_path, swap_spec, write_swap

from ..wav import read_wav
from .stand_in import STUDIO

RANGES = {"identities": (0, 5), "sentences": (10, 20), "variants": ("f1", "m3")}


def spec(seed: int, **changes) -> ClipSpec:
    return swap_spec(seed, **({"seconds": (0.9, 1.3), "side": 64, **RANGES} | changes))


def test_a_swap_keeps_to_its_ranges_and_has_two_voices():
    swaps = [spec(seed) for seed in range(12)]
    assert all(0 <= s.identity(0, 0) < 5 and s.sentence(0) != s.sentence(0, other=True) for s in swaps)
    assert all(10 <= s.sentence(0, other=other) < 20 for s in swaps for other in (False, True))
    clips = [Clip(s, STUDIO) for s in swaps[:4]]
    assert all({c.words(0).voice.variant, c.words(0, other=True).voice.variant} == {"f1", "m3"} for c in clips)
    with pytest.raises(ConfigError, match="two timbres"):
        spec(0, variants=("f1",))


def test_a_counterfactual_has_another_voice_only_where_one_is_given():
    plain = replace(spec(1), voices=())
    assert plain.voice_seed(0, other=True) == plain.voice_seed(0)
    assert replace(plain, voices=(4,)).voice_seed(0, other=True) == 4
    given = replace(plain, voices=(4, 5))
    assert (given.voice_seed(0), given.voice_seed(0, other=True)) == (4, 5)


def test_shuffled_sound_is_the_same_sound_with_nothing_in_its_place():
    rate = 1000
    samples = np.arange(round(5.5 * CHUNK_S * rate), dtype=np.float32)
    length, n = round(CHUNK_S * rate), 5
    moved = shuffled(samples, rate, np.random.default_rng(0))
    middles = moved[length // 2 : n * length : length]
    assert set(middles) == set(samples[length // 2 : n * length : length])
    assert (middles != samples[length // 2 : n * length : length]).all()
    np.testing.assert_array_equal(moved[n * length :], samples[n * length :])
    assert moved[0] < samples[length]  # chunks fade in


def test_a_swap_is_complete_when_all_its_files_are(tmp_path):
    one = spec(2)
    write_clip(one, tmp_path, "a", studio=STUDIO)
    assert not is_complete(one, tmp_path, "a")
    write_swap(one, tmp_path, "a", studio=STUDIO)
    assert is_complete(one, tmp_path, "a") and not is_complete(one, tmp_path, "b")
    with pytest.raises(ConfigError, match="another clip"):
        is_complete(spec(3), tmp_path, "a")
    sounds = [read_wav(sound_path(tmp_path, "a", name))[0] for name in SOUNDS]
    assert len({len(samples) for samples in sounds}) == 1
    assert all((a != b).any() for a, b in zip(sounds, [*sounds[1:], sounds[0]], strict=True))
    assert probe(tmp_path / "a.other.mp4").audio is not None
