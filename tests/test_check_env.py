"""What the report says of good, missing, damaged and mismatched parts."""

import json
from dataclasses import asdict

import pytest

from latentsync.errors import MediaError
from latentsync.media import ffmpeg
from latentsync.synthetic import espeak
from scripts import check_env
from scripts.check_env import Finding, Torch, check_checkpoints, check_mediapipe, check_python, check_torch
from scripts.setup_env import Gpu, Record, official_files, record_path, write_json

H100 = Gpu((580, 65, 6), (9, 0))


def torch(cuda="13.0", devices=()):
    return lambda: Torch("2.11.0", cuda, "91900", tuple(devices))


def place(folder, name, content=b"weights", release=None, **changes):
    """A checkpoint with its record; `changes` falsify the record."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    digest = check_env.sha256(target)
    record = asdict(Record("someone/weights", "c0ffee", name, digest, len(content), release)) | changes
    write_json(record_path(target), record)


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_python_outside_the_range_is_a_problem():
    assert check_python((3, 12, 1)).state == "ok"
    assert check_python((3, 13, 0)).state == "problem"
    assert check_python((3, 9, 18)).state == "problem"


def test_cpu_build_beside_a_gpu_is_a_loud_problem():
    first = next(check_torch(torch(cuda=None), H100))
    assert first.state == "problem" and "CPU BUILD" in first.detail and "setup_env" in first.remedy
    assert not first.fatal  # inference runs, slowly


def test_cuda_build_that_finds_no_gpu_names_the_driver():
    first = next(check_torch(torch(), Gpu((470, 82), (8, 6))))
    assert first.state == "problem" and "470.82" in first.detail


def test_gpu_in_use_is_ok():
    findings = list(check_torch(torch(devices=["cuda:0 H100, 80 GiB"]), H100))
    assert [finding.state for finding in findings] == ["ok", "ok", "ok"]


def test_no_gpu_is_a_note():
    assert [finding.state for finding in check_torch(torch(cuda=None))] == ["ok", "note"]


def test_torch_that_does_not_import_is_fatal():
    def broken():
        raise ImportError("operator torchvision::nms does not exist")

    (only,) = check_torch(broken)
    assert only.fatal and "nms" in only.detail


def test_missing_ffmpeg_is_fatal(monkeypatch):
    def missing():
        raise MediaError("no ffmpeg")

    monkeypatch.setattr(ffmpeg, "ffmpeg_path", missing)
    (only,) = check_env.check_ffmpeg()
    assert only.fatal and only.detail == "no ffmpeg"


def test_missing_encoder_is_a_problem(monkeypatch):
    monkeypatch.setattr(ffmpeg, "ffmpeg_path", lambda: "/usr/bin/ffmpeg")
    monkeypatch.setattr(ffmpeg, "encoders", lambda: frozenset({"aac"}))
    found = [(finding.state, finding.detail) for finding in check_env.check_ffmpeg()]
    assert found == [("ok", "/usr/bin/ffmpeg"), ("problem", "this ffmpeg has no libx264"), ("ok", "aac")]


def test_mediapipe_without_models_is_fatal(tmp_path):
    assert check_mediapipe(tmp_path).fatal
    for model in ("face_landmark/face_landmark.tflite", "face_detection/face_detection_short_range.tflite"):
        file = tmp_path / "modules" / model
        file.parent.mkdir(parents=True)
        file.touch()
    assert check_mediapipe(tmp_path).state == "ok"


def test_missing_speech_is_a_note_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv(espeak.VARIABLE, str(tmp_path / "absent.so"))
    finding = check_env.check_speech()
    assert finding.state == "note" and espeak.VARIABLE in finding.detail
    monkeypatch.setattr(espeak, "usable_library", lambda: espeak.Library("/usr/lib/libespeak-ng.so", None))
    assert check_env.check_speech().state == "ok"


def test_absent_weights_are_notes(tmp_path):
    findings = list(check_checkpoints(tmp_path))
    assert {finding.state for finding in findings} == {"note"}
    assert "demo model" in findings[-1].detail


def test_unet_without_its_companions_is_fatal(tmp_path):
    place(tmp_path, "latentsync_unet.pt", release="1.6")
    findings = by_name(check_checkpoints(tmp_path))
    assert findings["whisper/tiny.pt"].fatal
    assert findings["vae/config.json"].fatal
    assert findings["stable_syncnet.pt"].state == "note"
    assert "weights" not in findings


def test_complete_weights_are_ok(tmp_path):
    for file in official_files("1.5"):
        place(tmp_path, file.target, release=file.release)
    findings = by_name(check_checkpoints(tmp_path, verify=True))
    assert "release 1.5" in findings["latentsync_unet.pt"].detail
    assert all(findings[file.target].state == "ok" for file in official_files("1.5"))


def test_weights_placed_by_hand_have_no_known_release(tmp_path):
    (tmp_path / "latentsync_unet.pt").write_bytes(b"mine")
    finding = by_name(check_checkpoints(tmp_path))["latentsync_unet.pt"]
    assert finding.state == "ok" and "release unknown" in finding.detail


def test_truncated_weights_are_fatal(tmp_path):
    place(tmp_path, "latentsync_unet.pt", size=1000)
    assert by_name(check_checkpoints(tmp_path))["latentsync_unet.pt"].fatal


def test_changed_weights_show_only_with_verify(tmp_path):
    place(tmp_path, "latentsync_unet.pt", sha256="0" * 64)
    assert by_name(check_checkpoints(tmp_path))["latentsync_unet.pt"].state == "ok"
    assert by_name(check_checkpoints(tmp_path, verify=True))["latentsync_unet.pt"].fatal


@pytest.mark.parametrize("fatal", [False, True])
def test_report_and_exit_status(monkeypatch, capsys, fatal):
    findings = [Finding("a", "ok", "fine"), Finding("b", "problem", "broken", "mend it", fatal)]
    monkeypatch.setattr(check_env, "check_all", lambda verify: iter(findings))
    assert check_env.main([]) == int(fatal)
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["problem", "b:", "broken", "->", "mend", "it"]
    assert last == f"inference {'CANNOT' if fatal else 'can'} run; 1 problem"
    assert check_env.main(["--json"]) == int(fatal)
    assert json.loads(capsys.readouterr().out)["findings"] == [asdict(finding) for finding in findings]
