"""Clips: what their frames show, what is said, and the files."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import ConfigError
from latentsync.face.align import FaceAligner
from latentsync.face.detect import mesh_alignment_points
from latentsync.face.warp import to_3x3
from latentsync.media.ffmpeg import decode_audio, decode_frames, probe
from latentsync.synthetic import aligned
from latentsync.synthetic.clip import Clip, frames
from latentsync.synthetic.mouth import opening
from latentsync.synthetic.record import is_written, write_clip
from latentsync.synthetic.soundtrack import voice_of
from latentsync.synthetic.spec import Absence, ClipSpec, Occlusion, parse_fps
from latentsync.synthetic.speech import is_available

from .stand_in import STUDIO

ROOT = Path(__file__).resolve().parents[2]
PLAIN = ClipSpec(seed=3, seconds=2.0, width=160, height=120, language="en", room=False, camera=False)


def shown(spec: ClipSpec, *, other: bool = False) -> np.ndarray:
    return np.stack([frame.picture for frame in frames(spec, STUDIO, other=other)])


def truths(spec: ClipSpec, person: int = 0):
    return [frame.faces[person].truth for frame in frames(spec, STUDIO)]


def lag(heard: np.ndarray, said: np.ndarray) -> int:
    """Samples by which `heard` comes after `said`."""
    size = 1 << (len(heard) + len(said)).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size)))
    best = int(np.argmax(likeness))
    return best - size if best > size // 2 else best


def sound_in(path: Path, folder: Path) -> np.ndarray:
    return np.asarray(decode_audio(path, folder, sample_rate=22050)) / 32768


# The specification


def test_a_specification_survives_json():
    spec = replace(
        PLAIN,
        identities=(1, 2),
        fps=parse_fps("23.976"),
        profile=(0.5, 1.0),
        absences=(Absence(0.1, 0.2), Absence(1.0, 1.5, "empty")),
        occlusion=Occlusion("hand", 0.5, 1.5),
    )
    assert ClipSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.fps == Fraction(24000, 1001)
    with pytest.raises(ConfigError, match="unknown names: colour"):
        ClipSpec.from_json({"seed": 1, "seconds": 1, "colour": 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": None},
        {"seconds": 0},
        {"people": 3},
        {"both_speak": True},
        {"mute": True, "text": "a"},
        {"text": " "},
        {"absences": (Absence(0, 1),), "aligned": 64},
        {"absences": (Absence(0, 1, "hides"),)},
        {"profile": (1.0, 1.0)},
        {"occlusion": Occlusion("hat", 0, 1)},
        {"crf": 52},
    ],
)
def test_what_does_not_go_together_is_refused(wrong):
    with pytest.raises(ConfigError, match="expected"):
        replace(PLAIN, **wrong)


def test_seeds_of_faces_sentences_and_voices_are_independent():
    first = Clip(replace(PLAIN, identities=(1,), sentences=(2,), voices=(3,)), STUDIO)

    def differs(**changes) -> tuple[bool, bool, bool]:
        clip = Clip(replace(first.spec, **changes), STUDIO)
        a, b = next(first.frames()), next(clip.frames())
        words, others = first.words(0), clip.words(0)
        return bool((a.picture != b.picture).any()), words.text != others.text, words.voice != others.voice

    assert differs() == (False, False, False)
    assert differs(identities=(4,)) == (True, False, False)
    assert differs(voices=(4,)) == (False, False, True)
    _, text, voice = differs(sentences=(4,))
    assert (text, voice) == (True, False)


def test_a_voice_can_be_named():
    named = replace(PLAIN, language=None, voice="gmw/de+f2")
    assert (voice_of(named, 0).name, voice_of(named, 0).language) == ("gmw/de+f2", "de")
    assert voice_of(replace(PLAIN, variants=("m3",)), 0).variant == "m3"
    for wrong in ({"voice": "gmw/de+f2"}, {"voice": "Bob"}, {"language": "tlh"}):
        with pytest.raises(ConfigError):
            voice_of(replace(PLAIN, **wrong), 0)


# Frames


def test_a_clip_is_the_same_in_every_process():
    code = (
        "import hashlib; from tests.synthetic.test_clip import PLAIN, shown;"
        "print(hashlib.sha256(shown(PLAIN).tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    here = shown(PLAIN)
    assert other.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()
    assert here.shape == (50, 120, 160, 3)
    assert (here == shown(PLAIN)).all()
    assert (here != shown(replace(PLAIN, seed=4))).any()


def test_mouths_are_taken_in_the_middle_of_frames():
    clip = Clip(PLAIN, STUDIO)
    assert clip.times_s[:2].tolist() == [0.02, 0.06]
    bursts = [phoneme.start_s for phoneme in clip.words(0).phonemes if phoneme.symbol == "p"]
    gaps = np.array([truth.lip_gap for truth in truths(PLAIN)])
    assert bursts and gaps.max() > 2
    for burst in bursts:
        before = (clip.times_s > burst - 0.045) & (clip.times_s < burst - 0.005)
        assert (gaps[before] < 0.1).all()


def test_other_frame_rates_sample_the_same_clip():
    slow, fast = (truths(replace(PLAIN, fps=Fraction(fps))) for fps in (20, 60))
    assert len(fast) == 3 * len(slow)
    for k, truth in enumerate(slow):  # (k + 1/2) / 20 = (3 k + 1 + 1/2) / 60
        assert truth.lip_gap == pytest.approx(fast[3 * k + 1].lip_gap, abs=1e-3)
        assert truth.landmarks == pytest.approx(fast[3 * k + 1].landmarks, abs=1e-2)


def test_a_counterfactual_differs_in_the_mouth_alone():
    spec = replace(PLAIN, counterfactual=True, shake=0.01, camera=True)
    clip = Clip(spec, STUDIO)
    assert clip.words(0).text != clip.words(0, other=True).text
    assert clip.words(0).voice == clip.words(0, other=True).voice
    assert len(clip.sound()[0]) == len(clip.sound(other=True)[0])
    changed = 0
    for one, two in zip(clip.frames(), clip.frames(other=True), strict=True):
        assert one.faces[0].pose == two.faces[0].pose
        differs = (one.picture != two.picture).any(axis=2)
        changed += differs.any()
        if differs.any():
            rows, columns = np.nonzero(differs)
            pose = one.faces[0].pose
            below = np.column_stack([columns, rows]) - (pose.x, pose.y)
            assert (np.hypot(*(below - (0, 0.28 * pose.size)).T) < 0.3 * pose.size).all()
    assert changed > 20
    alone = shown(replace(spec, counterfactual=False))
    assert (alone == shown(spec)).all()


def test_the_counterfactual_of_an_aligned_clip_has_the_same_views():
    clip = Clip(replace(PLAIN, aligned=64, counterfactual=True), STUDIO)
    for one, two in zip(clip.frames(), clip.frames(other=True), strict=True):
        assert (one.view == two.view).all()


def test_two_people_and_who_speaks():
    pair = Clip(replace(PLAIN, people=2), STUDIO)
    speaker = pair.spec.subject
    assert pair.words(speaker) and not pair.words(1 - speaker)
    mouths = [[frame.faces[i].truth.lip_gap for frame in pair.frames()] for i in (0, 1)]
    assert max(mouths[speaker]) > 1 and max(mouths[1 - speaker]) == 0
    both = Clip(replace(PLAIN, people=2, both_speak=True), STUDIO)
    first, *_ = both.frames()
    assert both.words(0).text != both.words(1).text
    assert first.faces[0].box[2] < first.faces[1].box[0]
    sum_of_both = both.words(0).samples + both.words(1).samples
    assert both.sound()[0] == pytest.approx(sum_of_both / max(np.abs(sum_of_both).max(), 1), abs=1e-6)
    assert {Clip(replace(PLAIN, seed=s, people=2), STUDIO).spec.subject for s in range(12)} == {0, 1}


def test_a_cut_shows_another_person_who_goes_on_with_the_speech():
    found = list(frames(replace(PLAIN, cut_s=1.0), STUDIO))
    assert [frame.shot for frame in found] == [0] * 25 + [1] * 25
    assert np.abs(found[24].picture.astype(int) - found[25].picture).mean() > 10
    whole = list(frames(PLAIN, STUDIO))
    assert all((a.picture == b.picture).all() for a, b in zip(found[:25], whole[:25], strict=True))
    assert all((a.faces[0].mouth == b.faces[0].mouth).all() for a, b in zip(found, whole, strict=True))


@pytest.mark.parametrize("how", ["leaves", "empty"])
def test_a_span_without_a_face_shows_the_scenery_alone(how):
    found = list(frames(replace(PLAIN, absences=(Absence(0.8, 1.2, how),)), STUDIO))
    gone = [frame for frame in found if 0.8 <= (frame.index + 0.5) / 25 < 1.2]
    assert all(frame.faces[0].visible == 0 for frame in gone)
    assert all((frame.picture == gone[0].picture).all() for frame in gone)
    assert found[0].faces[0].visible == 1 and found[-1].faces[0].visible == 1
    beside = [frame.faces[0].visible for frame in found if frame not in gone]
    assert (min(beside) < 1) == (how == "leaves")


def test_an_occluder_comes_and_goes():
    plain, covered = (shown(replace(PLAIN, occlusion=o)) for o in (None, Occlusion("hand", 0.4, 1.6)))
    differs = (plain != covered).any(axis=(1, 2, 3))
    assert not differs[:9].any() and not differs[41:].any() and differs[20:30].all()
    middle = np.abs(plain[25].astype(int) - covered[25]).max(axis=2)
    x, y = truths(PLAIN)[25].landmarks[[13, 14]].mean(axis=0).round().astype(int)
    assert middle[y - 3 : y + 3, x - 3 : x + 3].min() > 20


def test_blur_and_noise():
    clean, noisy = (shown(replace(PLAIN, noise=n)).astype(float) for n in (None, 4.0))
    assert (noisy - clean).std() == pytest.approx(4, rel=0.3)
    assert np.corrcoef((noisy - clean)[0].ravel(), (noisy - clean)[1].ravel())[0, 1] < 0.05
    soft = shown(replace(PLAIN, blur=12.0)).astype(float)
    assert np.abs(np.diff(soft, axis=2)).max() < 0.6 * np.abs(np.diff(clean, axis=2)).max()


# Aligned clips


def test_aligned_clips_are_what_the_aligner_would_cut_out():
    spec = replace(PLAIN, width=320, height=320, aligned=96, amplitude=0.0)
    whole = frames(replace(spec, aligned=None), STUDIO)
    aligner = FaceAligner(96)
    for square, frame in zip(frames(spec, STUDIO), whole, strict=True):
        points = aligned.detected_points(frame.faces[0].truth, frame.faces[0].pose)
        crop = aligner.crop(frame.picture, aligner.matrix(points)).permute(1, 2, 0).numpy()
        assert square.picture.shape == (96, 96, 3)
        assert np.abs(square.picture.astype(int) - crop).mean() < 3


def test_aligned_points_carry_the_bias_of_the_detector(monkeypatch):
    bias = np.array([[0.01, 0.02], [-0.01, 0.03], [0.0, -0.05]], np.float32)
    monkeypatch.setattr(aligned, "MESH_BIAS", bias)
    frame = next(iter(frames(PLAIN, STUDIO)))
    truth, pose = frame.faces[0].truth, replace(frame.faces[0].pose, roll=np.pi / 2)
    moved = aligned.detected_points(truth, pose) - mesh_alignment_points(truth.landmarks)
    assert moved == pytest.approx(pose.size * np.column_stack([-bias[:, 1], bias[:, 0]]), abs=1e-3)


def test_views_are_smooth_and_put_the_face_in_its_place():
    spec = replace(PLAIN, aligned=96, amplitude=2.0, cut_s=1.0)
    found = list(frames(spec, STUDIO))
    places = np.array([to_3x3(f.view)[:2] @ (*mesh_alignment_points(f.faces[0].truth.landmarks)[2], 1) for f in found])
    assert np.abs(places - places.mean(axis=0)).max() < 2
    assert np.abs(np.diff([frame.view for frame in found], axis=0))[24].max() > 1  # nothing is smoothed over the cut


# Files


@pytest.mark.parametrize("fps", ["25", "23.976", "60"])
@pytest.mark.parametrize("offset", [0, 3, -4])
def test_sound_and_picture_in_a_file(tmp_path, fps, offset):
    spec = replace(PLAIN, seconds=1.53, width=64, height=64, fps=parse_fps(fps), audio_offset=offset)
    path = write_clip(spec, tmp_path, "a", studio=STUDIO)
    clip, info = Clip(spec, STUDIO), probe(path)
    assert info.rate == spec.fps
    assert len(list(decode_frames(info, info.rate))) == clip.n_frames == round(1.53 * spec.fps)
    heard = sound_in(path, tmp_path)
    assert abs(len(heard) - clip.n_frames / spec.fps * 22050) <= 1
    early = -lag(heard, clip.words(0).samples) / 22050 * float(spec.fps)
    assert early == pytest.approx(offset, abs=0.01)


def test_silence_around_the_words_and_everywhere(tmp_path):
    spec = replace(PLAIN, lead_s=0.5, trail_s=0.5)
    sound, rate = Clip(spec, STUDIO).sound()
    assert np.abs(sound[: rate // 2]).max() == 0 == np.abs(sound[-rate // 2 :]).max() and np.abs(sound).max() > 0.1
    gaps = [truth.lip_gap for truth in truths(spec)]
    assert max(gaps[:8]) == 0 and max(gaps) > 1
    mute = replace(PLAIN, mute=True)
    assert np.abs(Clip(mute, STUDIO).sound()[0]).max() == 0
    assert max(truth.lip_gap for truth in truths(mute)) == 0
    write_clip(mute, tmp_path, "mute", studio=STUDIO)
    (person,) = json.loads((tmp_path / "mute.json").read_text())["people"]
    assert not person["speaks"] and set(person["frames"]["viseme"]) == {"sil"}
    noise, _ = Clip(replace(mute, room=True), STUDIO).sound()
    assert 0 < noise.std() < 0.5


def test_a_text_decides_the_length():
    clip = Clip(replace(PLAIN, seconds=None, text="aiu", lead_s=0.1, trail_s=0.2), STUDIO)
    assert clip.n_frames == 32  # 3 x 0.32 s + 0.3 s
    assert clip.words(0).text == "aiu"
    assert Clip(replace(PLAIN, text="aiu"), STUDIO).n_frames == 50


def test_the_truth_in_the_files_is_that_of_the_frames(tmp_path):
    spec = replace(PLAIN, people=2, cut_s=1.2)
    write_clip(spec, tmp_path, "a", studio=STUDIO, landmarks=True)
    content = json.loads((tmp_path / "a.json").read_text())
    found = list(frames(spec, STUDIO))
    landmarks = np.load(tmp_path / "a.npz")["landmarks"]
    assert landmarks.shape == (50, 2, 468, 2)
    assert (landmarks[7, 1] == found[7].faces[1].truth.landmarks).all()
    assert [(p["shot"], p["first_frame"]) for p in content["people"]] == [(0, 0), (0, 0), (1, 30), (1, 30)]
    for person in content["people"]:
        column = person["frames"]
        assert {len(values) for values in column.values()} == {20 if person["shot"] else 30}
        index = person["first_frame"] + 5
        face = found[index].faces[content["people"].index(person) % 2]
        assert column["lip_gap"][5] == pytest.approx(face.truth.lip_gap, abs=1e-4)
        assert column["opening"][5] == pytest.approx(float(opening(face.mouth[None])[0]), abs=1e-4)
        assert column["yaw"][5] == pytest.approx(face.pose.yaw, abs=1e-4)
        assert column["box"][5] == pytest.approx(face.box, abs=0.01)
        assert column["points"][5] == pytest.approx(mesh_alignment_points(face.truth.landmarks), abs=1e-3)
    (speaker,) = {content["people"].index(p) % 2 for p in content["people"] if p["speaks"]}
    said = content["people"][speaker]
    assert said["text"] and said["phonemes"] and said["closed"] and said["voice"]["language"] == "en"
    assert ClipSpec.from_json(content["spec"]) == spec


def test_a_pair_is_written_with_its_truths(tmp_path):
    spec = replace(PLAIN, counterfactual=True, aligned=64)
    write_clip(spec, tmp_path, "a", studio=STUDIO)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.mp4", "a.other.json", "a.other.mp4"]
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("a", "a.other"))
    assert (one["counterfactual"], two["counterfactual"]) == (False, True)
    assert one["view"] == two["view"] and len(one["view"]) == 50
    assert one["people"][0]["text"] != two["people"][0]["text"]
    for name in ("a", "a.other"):
        heard = sound_in(tmp_path / f"{name}.mp4", tmp_path)
        assert lag(heard, Clip(spec, STUDIO).sound(other=name != "a")[0]) == 0


def test_a_finished_clip_is_known_by_its_specification(tmp_path):
    assert not is_written(PLAIN, tmp_path, "a")
    write_clip(PLAIN, tmp_path, "a", studio=STUDIO)
    assert is_written(PLAIN, tmp_path, "a") and not is_written(PLAIN, tmp_path, "a", landmarks=True)
    with pytest.raises(ConfigError, match="another clip"):
        is_written(replace(PLAIN, seed=9), tmp_path, "a")
    (tmp_path / "a.mp4").unlink()
    assert not is_written(PLAIN, tmp_path, "a")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        is_written(PLAIN, tmp_path, "a")


def test_nothing_is_left_of_a_clip_that_fails(tmp_path, monkeypatch):
    write_clip(PLAIN, tmp_path, "a", studio=STUDIO)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RuntimeError, match="stays at home"):
        write_clip(replace(PLAIN, identities=(13,)), tmp_path, "a", studio=STUDIO)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# The real studio


@pytest.mark.skipif(not is_available(), reason="speech needs espeak-ng")
def test_real_people_speak_in_files(tmp_path):
    covered = Occlusion("hand", 0, 0.4)
    spec = ClipSpec(seed=1, seconds=0.48, text="Papa!", voice="gmw/en-US+m3", occlusion=covered, aligned=64)
    path = write_clip(spec, tmp_path, "a")
    assert len(list(decode_frames(path))) == 12
    (person,) = json.loads((tmp_path / "a.json").read_text())["people"]
    assert person["text"] == "Papa!" and person["closed"]
    gaps = np.array(person["frames"]["lip_gap"])
    assert gaps.min() < 0.5 and gaps.max() > 3
    assert np.std(next(decode_frames(path))) > 10
