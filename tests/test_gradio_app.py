"""The command that serves the page."""

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

import gradio_app
from latentsync import REPO_ROOT
from latentsync.errors import CheckpointError, ConfigError
from latentsync.service.settings import Settings
from scripts import environment

NO_COLOUR = {**os.environ, "NO_COLOR": "1"}


def test_any_python_goes_on_in_the_environment(monkeypatch):
    """Which is made first; here a stand-in says where it is."""
    setup = []

    def run(command, **_):
        setup.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=b"env/bin/python\n")

    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    monkeypatch.setattr(environment.subprocess, "run", run)
    monkeypatch.setattr(environment.os, "execv", lambda *command: setup.append(command))
    monkeypatch.setattr(sys, "argv", ["gradio_app.py", "--port", "1"])
    monkeypatch.setattr(environment.os, "name", "posix")
    monkeypatch.setattr(environment.sys, "exit", lambda status: None)
    monkeypatch.setattr(environment.subprocess, "call", lambda command: 0)
    environment.enter("gradio")
    assert setup[0][1].endswith("setup_env.py") and "--print-python" in setup[0]
    assert setup[1] == ("env/bin/python", ["env/bin/python", "gradio_app.py", "--port", "1"])


def test_a_failed_set_up_ends_the_command(monkeypatch):
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    failed = subprocess.CompletedProcess([], 1, stdout=b"")
    monkeypatch.setattr(environment.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit) as ended:
        environment.enter("gradio")
    assert ended.value.code == 1


def test_defaults_are_safe_and_those_of_the_server():
    args = gradio_app.parse([])
    assert (args.host, args.share, args.auth) == ("127.0.0.1", False, None)
    assert not args.allow_private_webhooks and args.enable_deepcache
    settings = Settings(REPO_ROOT)
    assert args.max_upload_mb * 1e6 == settings.max_upload_bytes
    for name in ("keep_hours", "max_seconds", "max_queue"):
        assert getattr(args, name) == getattr(settings, name)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--auth", "ann"], "--auth: expected USER:PASSWORD"),
        (["--auth", ":secret"], "--auth: expected USER:PASSWORD"),
        (["--keep_hours", "0"], "--keep_hours 0.0: expected more than 0"),
        (["--max_seconds", "nan"], "--max_seconds nan: expected more than 0"),
        (["--port", "many"], "--port: invalid int value"),
        (["--inference_steps", "0"], "--inference_steps 0: expected 1 to"),
        (["--model", "demo", "--inference_ckpt_path", "x.pt"], "both say which weights"),
    ],
)
def test_a_mistake_in_the_flags_is_one_line(flags, words, capsys):
    with pytest.raises(SystemExit) as ended:
        gradio_app.parse(flags)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1


def test_a_password_may_have_colons():
    assert gradio_app.parse(["--auth", "ann:se:cret"]).auth == ("ann", "se:cret")


def test_devices_are_resolved_and_differ():
    assert gradio_app.choose_devices("cpu") == ("cpu",)
    with pytest.raises(ConfigError, match="expected each device once"):
        gradio_app.choose_devices("cpu, cpu")
    with pytest.raises(ConfigError, match="cuda:77: not available here"):
        gradio_app.choose_devices("cuda:77")


def test_all_models_that_are_there_are_served(monkeypatch, tmp_path, tiny_flags):
    def chosen(*flags: str) -> list[str]:
        return list(gradio_app.choose_models(gradio_app.parse(list(flags))))

    monkeypatch.setattr(gradio_app, "OFFICIAL_UNET", tmp_path / "absent.pt")
    assert chosen() == ["demo"]
    assert chosen(*tiny_flags) == ["latentsync_unet"]
    monkeypatch.setattr(gradio_app, "DEMO_UNET", tmp_path / "absent.pt")
    monkeypatch.setattr(gradio_app.inference, "DEMO_UNET", tmp_path / "absent.pt")
    monkeypatch.setattr(gradio_app.inference, "OFFICIAL_UNET", tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match="git checkout"):
        chosen()


def test_a_port_that_is_taken_is_said_and_another_one_found(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot use port {port} .*choose another --port"):
            gradio_app.listen("127.0.0.1", port)
        monkeypatch.setattr(gradio_app, "PORTS", [port, 0])
        with gradio_app.listen("127.0.0.1", None) as found:
            assert found.getsockname()[1] not in (0, port)
    with pytest.raises(ConfigError, match="cannot use"):
        gradio_app.listen("192.0.2.1", 7860)
    with pytest.raises(ConfigError, match="cannot use port 99999"):
        gradio_app.listen("127.0.0.1", 99999)


def test_a_public_link_that_cannot_be_had_is_said(monkeypatch):
    def offline(*_):
        raise RuntimeError("Could not get share link from Gradio API Server.")

    monkeypatch.setattr("gradio.networking.setup_tunnel", offline)
    with pytest.raises(ConfigError, match=r"--share: no public link could be made \(Could not"):
        gradio_app.share("127.0.0.1", 7860)


def test_what_cannot_be_served_is_one_line(capsys, tmp_path):
    assert gradio_app.cli(["--device", "cuda:77", "--data", str(tmp_path)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("error: ")] == told[-1:] and "cuda:77" in told[-1]


def test_the_command_serves_until_it_is_told_to_end(tmp_path):
    command = [sys.executable, str(REPO_ROOT / "gradio_app.py"), "--port", "0", "--model", "demo", "--no_browser"]
    command += ["--data", str(tmp_path / "data"), "--device", "cpu"]
    run = {"stderr": subprocess.PIPE, "text": True, "cwd": tmp_path, "env": NO_COLOUR}
    with subprocess.Popen(command, **run) as server:
        try:
            lines = iter(server.stderr.readline, "")
            address = next(found[1] for line in lines if (found := re.search(r"Open (http://127\.0\.0\.1:\d+) ", line)))
            with httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
                assert "LatentSync" in client.get("/").text and client.get("/zh").status_code == 200
                assert client.get("/v2/health").json()["devices"] == [{"device": "cpu", "busy": False}]
                assert client.get("/docs").status_code == 200
                assert client.get("/", headers={"host": "evil.example.org"}).status_code == 403
                foreign = {"origin": "https://evil.example.org", "sec-fetch-site": "cross-site"}
                assert client.post("/gradio_api/upload", headers=foreign).status_code == 403
            server.send_signal(signal.SIGINT)
            assert server.wait(20) in (0, 130)
            assert "Traceback" not in server.stderr.read()
        finally:
            server.kill()
