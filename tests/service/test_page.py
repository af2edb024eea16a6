"""The page in a real browser."""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from latentsync import REPO_ROOT
from latentsync.media.ffmpeg import VideoWriter, decode_frames
from latentsync.pipelines.report import LipsyncReport
from latentsync.service import page as page_module
from latentsync.service.page import mount_page
from latentsync.service.runner import Model
from latentsync.service.settings import Settings
from latentsync.service.still import SEARCHED_S
from latentsync.service.texts import CHINESE, ENGLISH

from ..wav import write_wav
from .stub import RATE, StubPipeline, n_frames, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: `apt-get install chromium`")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),  # a camera and a microphone
)
WIDE = {"width": 1280, "height": 1400}
DEMO = REPO_ROOT / "assets/demo1_video.mp4"
SLOW = 40_000  # ms, for what has to wait for a busy processor


class Painter(StubPipeline):
    """Paints the first frame of the video green, as many times as the sound has frames."""

    def __call__(self, video, audio, out, *, progress, on_frame, face, **settings) -> LipsyncReport:
        total = n_frames(audio)
        self.calls.append({"face": face})
        (before,) = decode_frames(video, n_frames=1)
        after = before.copy()
        after[..., 0] = after[..., 2] = 0
        self.begun.set()
        with VideoWriter(out, before.shape[1], before.shape[0], 25, audio=audio, preset="ultrafast") as writer:
            for i in range(total):
                writer.write(after)
                on_frame(before, after)
                progress(i + 1, total)
                if i == total // 2:
                    self.wait(lambda: progress(i + 1, total))  # noqa: B023 -- it is called here alone
        return LipsyncReport(frames=total, faceless=[(0, 2)], seconds={"networks": 0.5})


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium):
    """Opens a tab of a new visitor: browse(address, locale=...). Errors of the page's own scripts fail the test."""
    contexts, errors = [], []

    def open_tab(address: str, **settings):
        context = chromium.new_context(viewport=WIDE, **settings)
        context.set_default_timeout(SLOW)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert not errors


@contextmanager
def page_server(folder: Path, pipeline, **settings):
    """The address of a server with a page, and its app."""
    settings = Settings(folder, **{"devices": ("cpu",), **settings})
    with serving(settings, lambda device, name: Model(pipeline), mount_page) as client:
        yield str(client.base_url), client.app


@pytest.fixture(scope="module")
def painter():
    return Painter()


@pytest.fixture(scope="module")
def server(tmp_path_factory, painter):
    with page_server(tmp_path_factory.mktemp("data"), painter, models=("other", "demo")) as (address, app):
        yield address, app


@pytest.fixture
def gate(painter):
    """Closed until a test opens it."""
    painter.gate.clear()
    yield painter.gate
    painter.gate.set()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A video of two people, and sounds by their length in frames."""
    folder = tmp_path_factory.mktemp("files")
    people = [next(decode_frames(REPO_ROOT / f"assets/demo{i}_video.mp4", n_frames=1)) for i in (1, 2)]
    both = np.concatenate(people, axis=1)
    with VideoWriter(folder / "two people.mp4", both.shape[1], both.shape[0], 25, preset="ultrafast") as writer:
        for _ in range(10):
            writer.write(both)
    tone = (3000 * np.sin(np.arange(RATE * 4) * 0.2)).astype(np.int16)
    for frames in (10, 20, 30):
        write_wav(folder / f"{frames}.wav", tone[: frames * RATE // 25])
    for name in ("notes.mp4", "notes.wav"):
        (folder / name).write_text("neither a video nor a sound")
    return folder


def choose(page, video: Path | None, audio: Path | None) -> None:
    for kind, path in (("video", video), ("audio", audio)):
        if path:
            page.set_input_files(f"#{kind} input[type=file]", path)
    if video:
        expect(page.locator("#face_note .note")).to_be_visible(timeout=SLOW)
    if audio:
        expect(page.locator("#audio [data-testid^=waveform], #audio audio").first).to_be_attached(timeout=SLOW)
        expect(page.locator("#audio input[type=file]")).to_have_count(0, timeout=SLOW)


def generate(page) -> None:
    page.click("#generate")


def done(page, texts=ENGLISH) -> None:
    expect(page.locator("#status .done")).to_contain_text(texts.completed.split("{")[0], timeout=SLOW)


def result_length(page) -> float:
    """Seconds of the video that can be played, by the browser."""
    video = page.locator("#result video")
    expect(video).to_be_visible(timeout=SLOW)
    page.wait_for_function("document.querySelector('#result video').readyState >= 2", timeout=SLOW)
    return video.evaluate("video => video.duration")


def test_a_face_is_chosen_by_a_click(browse, server, painter, files):
    address, _ = server
    page = browse(address)
    choose(page, files / "two people.mp4", files / "10.wav")
    expect(page.locator("#face_note")).to_have_text(ENGLISH.several_faces)
    still = page.locator("#still img")
    chosen = {}
    for side, where in (("left", 0.25), ("right", 0.75)):
        box = still.bounding_box()
        still.click(position={"x": where * box["width"], "y": 0.45 * box["height"]})
        page.click("#more button")
        face = page.locator("#face textarea, #face input").first
        expect(face).to_have_value(re.compile(r"\d+,\d+"), timeout=SLOW)
        page.wait_for_function(
            "side => { const x = parseInt(document.querySelector('#face textarea, #face input').value);"
            " return (x < 512) === (side === 'left') }",
            arg=side,
        )
        chosen[side] = face.input_value()
        page.click("#more button")
    generate(page)
    done(page)
    assert painter.calls[-1] == {"face": chosen["right"]}


def test_what_is_seen_of_a_job(browse, server, gate, files):
    """Stage, frames and a picture; then the video with the right length, before and after, the report."""
    address, _ = server
    page = browse(address)
    choose(page, files / "two people.mp4", files / "30.wav")
    generate(page)
    status = page.locator("#status")
    expect(status).to_contain_text("Lip sync · 16 of 30 frames", timeout=SLOW)
    expect(status.locator("[role=progressbar]")).to_have_attribute("aria-valuenow", "53")
    expect(page.locator("#preview img")).to_be_visible(timeout=SLOW)
    expect(page.locator("#generate")).to_be_disabled()
    assert re.search("job=[0-9a-f]{32}$", page.url)
    gate.set()
    done(page)
    assert result_length(page) == pytest.approx(30 / 25, abs=0.05)
    assert page.locator("#result video").evaluate("async video => { await video.play(); return video.error }") is None
    for words in ("other", "cpu", "30", "0:00.0-0:00.1", "1247", "networks 0.5 s"):
        expect(page.locator("#report")).to_contain_text(words)
    expect(page.locator("#compared img").first).to_be_visible()
    expect(page.locator("#preview img")).to_be_hidden()
    expect(page.locator("#cancel")).to_be_hidden()
    with page.expect_download() as download:
        page.locator("#result a[download], #result button[aria-label*=ownload]").first.click()
    assert download.value.path().read_bytes()[4:8] == b"ftyp"
    page.reload()
    assert result_length(page) == pytest.approx(30 / 25, abs=0.05)


def test_cancel_ends_a_job_and_frees_the_server(browse, server, gate, painter, files):
    address, app = server
    page = browse(address)
    choose(page, files / "two people.mp4", files / "20.wav")
    painter.begun.clear()
    generate(page)
    expect(page.locator("#status")).to_contain_text("of 20 frames", timeout=SLOW)
    id = page.url.split("job=")[1]
    began = monotonic()
    page.click("#cancel")
    expect(page.locator("#status")).to_have_text(ENGLISH.cancelled, timeout=SLOW)
    service = app.state.service
    while service.storage.folder(id).exists():
        assert monotonic() - began < 10
    assert monotonic() - began < 3  # the browser's own time included
    assert service.store.processing() == []
    expect(page.locator("#generate")).to_be_enabled()
    gate.set()
    generate(page)
    done(page)


@pytest.mark.parametrize(
    "kind, name, words",
    [
        ("video", "notes.mp4", "notes.mp4 is not a readable video or sound file of a known format"),
        ("audio", "notes.wav", "notes.wav is not a readable video or sound file of a known format"),
    ],
)
def test_a_bad_file_is_one_sentence(browse, server, files, kind, name, words):
    page = browse(server[0])
    page.set_input_files(f"#{kind} input[type=file]", files / name)
    problem = page.locator(f"#{kind}_note .problem")
    expect(problem).to_contain_text(words, timeout=SLOW)
    text = problem.inner_text()
    assert str(server[1].state.service.settings.data) not in text and "\n" not in text.strip()


def test_what_is_missing_is_said(browse, server, files):
    page = browse(server[0])
    generate(page)
    expect(page.locator("#status .problem")).to_contain_text(ENGLISH.no_video, timeout=SLOW)
    choose(page, files / "two people.mp4", None)
    generate(page)
    expect(page.locator("#status .problem")).to_contain_text(ENGLISH.no_audio, timeout=SLOW)


def test_options_out_of_range_are_one_sentence(browse, server, files):
    page = browse(server[0])
    choose(page, files / "two people.mp4", files / "10.wav")
    page.click("#more button")
    rate = page.locator("#fps textarea, #fps input").first
    expect(rate).to_have_value("25")
    page.wait_for_timeout(1000)  # what was just unfolded sets its values once more, faster than people type
    rate.fill("fast")
    generate(page)
    expect(page.locator("#status .problem")).to_contain_text("options: fps: expected source or a rate", timeout=SLOW)
    expect(page.locator("#generate")).to_be_enabled()


def test_two_tabs_get_their_own_videos(browse, server, gate, files):
    address, _ = server
    tabs = {frames: browse(address) for frames in (10, 30)}
    for frames, page in tabs.items():
        choose(page, files / "two people.mp4", files / f"{frames}.wav")
        generate(page)
        expect(page.locator("#status")).to_contain_text("of 10 frames" if frames == 10 else "number 1", timeout=SLOW)
    gate.set()
    for frames, page in tabs.items():
        done(page)
        assert result_length(page) == pytest.approx(frames / 25, abs=0.05)


def test_the_page_speaks_chinese(browse, server, files):
    page = browse(server[0], locale="zh-CN")
    page.wait_for_url("**/zh")
    expect(page.locator("#generate")).to_have_text(CHINESE.generate)
    choose(page, files / "two people.mp4", files / "10.wav")
    expect(page.locator("#face_note")).to_have_text(CHINESE.several_faces)
    generate(page)
    done(page, CHINESE)
    assert result_length(page) == pytest.approx(10 / 25, abs=0.05)
    expect(page.locator("#report")).to_contain_text("神经网络 0.5 秒")
    page.click(f"text={ENGLISH.language}")
    expect(page.locator("#generate")).to_have_text(ENGLISH.generate)


def test_a_video_and_a_voice_are_recorded(browse, server):
    """By the browser's own artificial camera, which shows nobody, and microphone."""
    page = browse(server[0], permissions=["camera", "microphone"])
    page.click("#video [aria-label='Capture from camera']")
    page.get_by_text("Click to Access Webcam").click()
    record = page.locator("#video .button-wrap button").first
    record.click()
    page.wait_for_timeout(1500)
    record.click()
    expect(page.locator("#face_note")).to_have_text(ENGLISH.no_face.format(seconds=SEARCHED_S), timeout=SLOW)
    page.click("#audio [aria-label='Record audio']")
    page.click("#audio .record-button")
    page.wait_for_timeout(1500)
    page.click("#audio .stop-button")
    expect(page.locator("#audio .play-pause-button")).to_be_visible(timeout=SLOW)
    generate(page)
    done(page)
    assert 0.5 < result_length(page) < 6


def test_a_job_that_is_gone_is_said(browse, server):
    page = browse(f"{server[0]}?job={'0' * 32}")
    expect(page.locator("#status")).to_contain_text("not here any more", timeout=SLOW)


def test_too_large_an_upload_is_said(browse, tmp_path, files):
    with page_server(tmp_path / "data", Painter(), max_upload_bytes=1000) as (address, _):
        page = browse(address)
        page.set_input_files("#video input[type=file]", files / "two people.mp4")
        expect(page.get_by_text("exceed")).to_be_visible(timeout=SLOW)


def test_a_login_closes_the_page(browse, tmp_path, files):
    with page_server(tmp_path / "data", Painter(), auth=("ann", "secret")) as (address, _):
        with httpx.Client(base_url=address, trust_env=False) as client:
            assert client.get("/gradio_api/info").status_code == 401
            upload = client.post("/gradio_api/upload", files={"files": ("a.wav", b"RIFF")})
            assert upload.status_code == 401
        page = browse(address)
        page.get_by_label("username").fill("ann")
        page.get_by_label("password").fill("secret")
        page.get_by_role("button").last.click()
        expect(page.locator("#generate")).to_be_visible(timeout=SLOW)
        choose(page, files / "two people.mp4", files / "10.wav")
        generate(page)
        done(page)
        assert result_length(page) == pytest.approx(10 / 25, abs=0.05)


def test_uploads_are_removed_with_time_and_what_a_killed_server_left_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "SWEEP_EVERY_S", 1)
    left, other = tmp_path / f"uploads/{'a' * 64}/video.mp4", tmp_path / "uploads/mine/video.mp4"
    for path in (left, other):
        path.parent.mkdir(parents=True)
        path.touch()
    with page_server(tmp_path, Painter(), keep_hours=2 / 3600) as (address, _):
        assert not left.parent.exists() and other.exists()
        with httpx.Client(base_url=address, trust_env=False) as client:
            sent = client.post("/gradio_api/upload", files={"files": ("a.wav", b"RIFF")}).json()
        (upload,) = map(Path, sent)
        assert upload.is_file() and upload.is_relative_to(tmp_path / "uploads")
        end = monotonic() + 20
        while upload.exists():
            assert monotonic() < end
            sleep(0.1)


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", "jobs.sqlite"])
def test_a_path_sent_by_a_client_is_not_read(server, path):
    """Neither as an input of the page nor as an address below it."""
    address, app = server
    data = app.state.service.settings.data
    path = str(data / path) if path == "jobs.sqlite" else path
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        config = client.get("/config").json()
        look = next(d for d in config["dependencies"] if d["targets"] and d["targets"][0][1] == "change")
        event = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "fn_index": look["id"]}
        event["session_hash"] = "paths"
        assert client.post("/gradio_api/queue/join", json=event).status_code == 200
        with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "paths"}) as stream:
            told = next(line for line in stream.iter_lines() if "process_completed" in line)
        assert '"success":false' in told.replace(" ", "") and "root:" not in told
        for prefix in ("/gradio_api/file=", "/file=", "/v2/generate/", "/static/"):
            assert client.get(prefix + path).status_code in (403, 404)


def test_the_demo_is_run(browse, tmp_path):
    """With the demo model's own networks, from an upload to a video that can be played."""
    import gradio_app

    args = gradio_app.parse(["--model", "demo", "--dtype", "fp32"])
    models = gradio_app.choose_models(args)
    settings = Settings(tmp_path / "data", devices=("cpu",), models=tuple(models))
    tone = (3000 * np.sin(np.arange(RATE) * 0.2)).astype(np.int16)
    sound = write_wav(tmp_path / "sound.wav", tone[: 8 * RATE // 25])
    load = lambda device, name: gradio_app.load_model(*models[name], device)  # noqa: E731
    with serving(settings, load, mount_page) as client:
        page = browse(str(client.base_url))
        expect(page.locator("body")).to_contain_text("demo model")
        choose(page, DEMO, sound)
        expect(page.locator("#face_note")).to_have_text(ENGLISH.one_face)
        page.locator("#steps input[type=number]").fill("2")
        generate(page)
        expect(page.locator("#status .done")).to_be_visible(timeout=3 * SLOW)
        assert result_length(page) == pytest.approx(8 / 25, abs=0.05)
        expect(page.locator("#report")).to_contain_text("demo")
        if shots := os.environ.get("LATENTSYNC_SCREENSHOTS"):
            page.screenshot(path=Path(shots) / "demo.png", full_page=True)
