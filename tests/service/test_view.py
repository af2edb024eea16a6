"""What the page says of a job."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from latentsync.service import page, view
from latentsync.service.jobs import Job
from latentsync.service.options import JobOptions
from latentsync.service.texts import CHINESE, ENGLISH, LANGUAGES, Texts

JOB = Job(
    id="0" * 32,
    status="processing",
    created=100.0,
    started=110.0,
    ended=None,
    video="face.mp4",
    audio="speech.wav",
    options=JobOptions().model_dump(),
    webhook=None,
    device="cuda:0",
    attempts=1,
    done=0,
    total=0,
    stage="preparing",
    reason="",
    report=None,
    position=None,
)
REPORT = {"frames": 250, "faceless": [[0, 24], [100, 112]], "tail": 0, "seconds": {"networks": 75.0, "paste": 0.25}}
REPORT |= {"seed": 7, "model": "official", "device": "cuda:0"}


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 110.0

        def time(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(view, "time", clock)
    return clock


def braces(text: str) -> set[str]:
    return {part.split("}")[0].split(":")[0] for part in text.split("{")[1:]}


@pytest.mark.parametrize("name", [field.name for field in fields(Texts)])
def test_every_text_is_used_and_says_the_same_in_each_language(name):
    source = Path(page.__file__).read_text() + Path(view.__file__).read_text()
    assert re.search(rf"\.{name}\b", source)
    one, other = (getattr(texts, name) for texts in LANGUAGES)
    if isinstance(one, dict):
        assert one.keys() == other.keys() and all(one.values()) and all(other.values())
    else:
        assert braces(one) == braces(other) and (name == "path" or one != other)


def test_a_waiting_job_has_its_place():
    assert "number 3" in view.status(ENGLISH, replace(JOB, status="queued", position=3), 24)


def test_the_time_left_counts_down_between_bursts(clock):
    estimate = view.Estimate()
    assert estimate(JOB) is None
    clock.now = 120
    assert estimate(replace(JOB, done=1, total=96)) is None
    clock.now = 130
    burst = replace(JOB, done=16, total=96)
    assert estimate(burst) == 100
    clock.now = 137
    assert estimate(burst) == 93
    clock.now = 1000
    assert estimate(burst) == 1


def test_progress_in_words(clock):
    clock.now = 140
    job = replace(JOB, done=16, total=96, stage="lip sync")
    told = view.status(ENGLISH, job, 24, 93.2)
    assert "Lip sync · 16 of 96 frames · about 1 min 33 s left" in told and "aria-valuenow='17'" in told
    assert "生成口型 · 已完成 16 / 96 帧 · 大约还需 1 分 33 秒" in view.status(CHINESE, job, 24, 93.2)
    assert "Preparing · 30 s so far" in view.status(ENGLISH, JOB, 24)


def test_ends_in_words():
    assert "Done in 12 s." in view.status(ENGLISH, replace(JOB, status="completed", ended=122.0), 24)
    assert "Cancelled." in view.status(ENGLISH, replace(JOB, status="cancelled"), 24)
    failed = view.status(ENGLISH, replace(JOB, status="failed", reason="<b>face</b>.mp4: no face found"), 24)
    assert "&lt;b&gt;face&lt;/b&gt;.mp4: no face found" in failed and "<b>" not in failed


def test_the_report_in_words():
    done = replace(JOB, status="completed", ended=200.0, report=REPORT)
    told = view.report(ENGLISH, done)
    for words in ("official", "cuda:0", "250", "0:00.0-0:01.0, 0:04.0-0:04.5", "networks 1 min 15 s", "7"):
        assert words in told
    assert "0-24, 100-112" in view.report(ENGLISH, replace(done, options=JOB.options | {"fps": "source"}))
    whole = replace(done, report=REPORT | {"faceless": [], "tail": 12})
    assert ENGLISH.whole in view.report(ENGLISH, whole)
    assert "250 + 12 more after the end of the sound" in view.report(ENGLISH, whole)
    assert "0:59.9-1:00.0" in view.report(ENGLISH, replace(done, report=REPORT | {"faceless": [[1498, 1499]]}))
