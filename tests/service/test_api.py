import shutil
import socket
import time
from pathlib import Path

import httpx
import pytest

from latentsync.service.errors import Refusal
from latentsync.service.runner import Model
from latentsync.service.settings import Settings

from .stub import StubPipeline, form, picture, serving, sound, wait_for

URL = "/v2/generate"
USED = {"model": "demo", "device": "cpu"}
NOBODY = "0" * 32


def folders(data: Path) -> set[str]:
    return {path.name for path in (data / "runs").glob("*")}


def test_a_video_is_made(client, tmp_path):
    client = client(models=("demo", "other"), base_url="https://lips.example.org/")
    answer = client.post(URL, **form(tmp_path, options='{"crf": 20, "seed": 5}'))
    job = answer.json()
    assert answer.status_code == 201 and answer.headers["location"] == job["url"]
    assert job["url"] == f"https://lips.example.org{URL}/{job['id']}"
    assert (job["status"], job["position"], job["output_url"]) == ("queued", 1, None)
    done = wait_for(client, f"{URL}/{job['id']}", "completed")
    assert done["output_url"] == f"{job['url']}/result"
    assert done["progress"] == {"done": 3, "total": 3, "stage": ""}
    assert done["report"] == {"frames": 3, "faceless": [], "tail": 0, "seconds": {}, "seed": 5, **USED}
    assert done["options"]["crf"] == 20 and done["created"] <= done["started"] <= done["ended"]
    video = client.get(f"{URL}/{job['id']}/result")
    assert video.content == sound(tmp_path, 3) and video.headers["content-type"] == "video/mp4"
    part = client.get(f"{URL}/{job['id']}/result", headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, video.content[4:8])
    assert client.get(f"{URL}/{job['id']}/result", headers={"range": "bytes=9999999-"}).status_code == 416
    assert client.get("/v2/health").json() == {
        "models": ["demo", "other"],
        "devices": [{"device": "cpu", "busy": False}],
        "queue": 0,
        "max_queue": 100,
    }


def test_files_of_this_machine_become_a_job_and_stay(client, tmp_path):
    service = client().app.state.service
    video, audio = tmp_path / "face.png", tmp_path / "speech.wav"
    video.write_bytes(picture(1))
    audio.write_bytes(sound(tmp_path, 3))
    job = service.submit_files(video, audio, '{"seed": 3}')
    assert (job.video, job.audio, job.options["seed"]) == ("face.png", "speech.wav", 3)
    with pytest.raises(Refusal, match="'steps' is not known"):
        service.submit_files(video, audio, '{"steps": 3}')
    before = folders(tmp_path / "data")
    audio.unlink()
    with pytest.raises(Refusal, match="could not store the files; choose them again"):
        service.submit_files(video, audio, "")
    assert folders(tmp_path / "data") == before and video.exists()


def test_a_model_is_chosen(client, tmp_path):
    client = client(models=("demo", "other"))
    job = client.post(URL, **form(tmp_path, options='{"model": "other"}')).json()
    done = wait_for(client, job["url"], "completed")
    assert done["options"]["model"] == done["report"]["model"] == "other"
    refused = client.post(URL, **form(tmp_path, options='{"model": "third"}'))
    expected = "options: model: 'third' is not served; expected any of demo, other"
    assert (refused.status_code, refused.json()["detail"]) == (422, expected)


def test_jobs_wait_in_order_and_can_be_cancelled(client, stub, tmp_path):
    stub.gate.clear()
    client = client(max_queue=2)
    first, *waiting = [client.post(URL, **form(tmp_path, n)).json() for n in (1, 2, 3) if n < 2 or stub.begun.wait(9)]
    assert [job["position"] for job in waiting] == [1, 2]
    full = client.post(URL, **form(tmp_path))
    assert (full.status_code, full.json()) == (429, {"detail": "2 jobs wait already; try again later"})
    processing = client.get(first["url"]).json()
    assert (processing["status"], processing["progress"]["total"]) == ("processing", 3)
    assert client.get("/v2/health").json()["devices"] == [{"device": "cpu", "busy": True}]
    early = client.get(first["url"] + "/result")
    assert early.status_code == 409 and "this one is processing" in early.json()["detail"]
    assert client.delete(waiting[0]["url"]).json()["status"] == "cancelled"
    assert client.get(waiting[1]["url"]).json()["position"] == 1
    assert client.delete(first["url"]).json()["status"] == "cancelled"
    started = time.monotonic()
    wait_for(client, waiting[1]["url"], "processing")  # so the worker is free
    assert time.monotonic() - started < 2
    stub.gate.set()
    wait_for(client, waiting[1]["url"], "completed")
    assert folders(tmp_path / "data") == {waiting[1]["id"]}
    for job in (first, *waiting):
        assert client.delete(job["url"]).status_code == 204
        assert client.delete(job["url"]).status_code == 404
        assert client.get(job["url"]).status_code == 404
    assert folders(tmp_path / "data") == set()


def test_a_failed_job_tells_why(client, stub, tmp_path):
    stub.error = ValueError("internal")
    client = client()
    job = client.post(URL, **form(tmp_path)).json()
    assert "an error of the server" in wait_for(client, job["url"], "failed")["reason"]
    answer = client.get(job["url"] + "/result")
    assert answer.status_code == 409 and "this one is failed (an error of the server" in answer.json()["detail"]


@pytest.mark.parametrize("key", [None, "", "wrong", "secret ", "s\xe9cret"])
def test_a_wrong_key_opens_nothing(client, tmp_path, key):
    client = client(api_key="secret")
    job = client.post(URL, **form(tmp_path), headers={"x-api-key": "secret"}).json()
    headers = {} if key is None else {"x-api-key": key.encode("latin-1")}
    for method, url in (("POST", URL), ("GET", job["url"]), ("DELETE", job["url"]), ("GET", job["url"] + "/result")):
        answer = client.request(method, url, headers=headers)
        assert answer.status_code == 401, (method, url)
        assert answer.json() == {"detail": "expected the server's key in the header x-api-key"}
    assert client.get("/v2/health").status_code == 200
    assert client.get(job["url"], headers={"x-api-key": "secret"}).status_code == 200


@pytest.mark.parametrize(
    "id",
    [NOBODY, "..", "%2e%2e", "..%2f..%2fjobs.sqlite", "..%5c..", "%00", "x' OR '1'='1", "a" * 9999, "%ff"],
)
def test_other_ids_lead_nowhere(client, id):
    client = client()
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/result")):
        answer = client.request(method, f"{URL}/{id}{rest}")
        assert answer.status_code in (404, 405), answer.text
        assert list(answer.json()) == ["detail"]


@pytest.mark.parametrize(
    "name", ["../../../evil.mp4", "/tmp/evil.png", "..\\evil.mp4", "C:\\evil.mp4", "\u202eevil.png", "%2e%2fevil.png"]
)
def test_names_lead_nowhere(client, stub, tmp_path, name):
    client = client()
    files = {"video": (name, picture(1)), "audio": (name, sound(tmp_path, 2))}
    before = set(tmp_path.parent.rglob("*evil*"))
    stub.gate.clear()
    job = client.post(URL, files=files).json()
    assert stub.begun.wait(9)
    found = {path.name for path in (tmp_path / "data/runs" / job["id"]).iterdir()}
    assert all(name.split(".")[0] in ("video", "audio") for name in found) and len(found) == 2
    assert set(tmp_path.parent.rglob("*evil*")) == before


@pytest.mark.parametrize(
    "change, status, words",
    [
        ({"data": {"options": "{"}}, 422, "options: expected a JSON object"),
        ({"data": {"options": '{"steps": 3}'}}, 422, "options: 'steps' is not known"),
        ({"data": {"webhook": "file:///etc/passwd"}}, 422, "webhook: expected a URL"),
        ({"data": {"webhook": "http://localhost:1/"}}, 422, "webhook: localhost is not a public address"),
        ({"data": {"weights": "x"}}, 422, "the field 'weights' is not known"),
        ({"files": {"video": ("a.png", b"")}}, 422, "audio: missing"),
        ({"files": {"video": ("my.mp4", b"no video"), "audio": ("a.wav", b"x")}}, 422, "my.mp4 is not a readable"),
        ({"files": {"video": ("my.mp4", b""), "audio": ("a.wav", b"x")}}, 422, "my.mp4 is not a readable"),
        ({"files": {"video": ("x.png", picture(1)), "audio": ("y.png", picture(1))}}, 422, "y.png has no audio"),
        ({"files": None, "json": {"video": "x"}}, 400, "expected a form"),
        ({"files": None}, 400, "expected a form"),
    ],
)
def test_bad_requests_leave_nothing(client, tmp_path, change, status, words):
    client = client()
    request = {**form(tmp_path), **change}
    answer = client.post(URL, **{name: value for name, value in request.items() if value is not None})
    assert answer.status_code == status and answer.json()["detail"].startswith(words), answer.text
    assert folders(tmp_path / "data") == set()


def test_long_inputs_are_refused(client, tmp_path):
    answer = client(max_seconds=0.5).post(URL, **form(tmp_path, frames=15))
    assert answer.status_code == 413
    assert answer.json() == {"detail": "speech 1.wav is longer than the 0.5 s that are allowed; cut it"}


def test_old_jobs_are_swept(client, stub, tmp_path):
    client = client(keep_hours=0)
    old = client.post(URL, **form(tmp_path)).json()
    wait_for(client, old["url"], "completed")
    stub.gate.clear()
    new = client.post(URL, **form(tmp_path)).json()
    time.sleep(0.01)
    client.app.state.service.sweep()
    assert client.get(old["url"]).status_code == 404
    assert client.get(new["url"]).status_code == 200
    assert folders(tmp_path / "data") == {new["id"]}


def test_errors_have_one_shape(client, monkeypatch):
    client = client()
    monkeypatch.setattr(client.app.state.service.store, "get", lambda id: 1 / 0)
    for method, url, status in (("GET", "/x", 404), ("PUT", URL, 405), ("GET", f"{URL}/{NOBODY}", 500)):
        answer = client.request(method, url)
        assert answer.status_code == status and isinstance(answer.json()["detail"], str)


@pytest.fixture
def server(tmp_path):
    settings = Settings(tmp_path / "data", devices=("cpu",), max_upload_bytes=1 << 20)
    with serving(settings, lambda device, name: Model(StubPipeline())) as client:
        yield client


def test_an_upload_that_says_it_is_too_large_is_not_read(server):
    answer = announce(server, 2 << 20)
    assert answer.startswith("HTTP/1.1 413") and "the upload is larger than the 1.04858 MB" in answer


@pytest.mark.parametrize("free, status", [(0, 503), (2_000_999_999, 503), (2_001_000_000, 400)])
def test_an_upload_that_would_fill_the_disk_is_not_read(server, tmp_path, monkeypatch, free, status):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free))
    answer = announce(server, 1_000_000, content_type="text/plain")
    assert answer.startswith(f"HTTP/1.1 {status}") and ("the server's disk is nearly full" in answer) == (status == 503)


def announce(server, length: int, content_type: str = "multipart/form-data; boundary=x") -> str:
    """The answer to an upload of which no byte is sent."""
    with socket.create_connection((server.base_url.host, server.base_url.port), timeout=10) as raw:
        lines = [f"POST {URL} HTTP/1.1", "host: x", f"content-type: {content_type}", f"content-length: {length}"]
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        return raw.makefile("rb").read().decode()  # up to the end of the connection


def test_an_upload_of_unknown_size_ends_at_the_limit(server, tmp_path):
    sent = 0

    def body():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n'
        for _ in range(1000):
            sent += 1 << 16
            yield bytes(1 << 16)

    try:
        answer = server.post(URL, content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 413
    except httpx.TransportError:  # the connection ended while more was on its way
        pass
    assert sent < 30 << 20
    assert folders(tmp_path / "data") == set()
    assert server.get("/v2/health").status_code == 200


def test_a_client_that_goes_away_leaves_nothing(server, tmp_path):
    def body():
        yield b'--x\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n' + bytes(9999)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        server.post(URL, content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
    end = time.monotonic() + 10
    while folders(tmp_path / "data") and time.monotonic() < end:
        time.sleep(0.02)
    assert folders(tmp_path / "data") == set()
