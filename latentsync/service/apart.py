"""Inspection in a process of its own: decoders of damaged or malicious files may take their process down."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Semaphore

from ..workers import run_jobs
from .errors import Refusal
from .inspection import check_inputs
from .settings import Settings

LIMIT_S = 60.0
_AT_ONCE = Semaphore(2)


@dataclass(frozen=True)
class _Inputs:
    video: Path | None
    audio: Path | None


def check_inputs_apart(video: Path | None, audio: Path | None, settings: Settings) -> None:
    """As `check_inputs`, but whatever the files do, this process goes on. Raises Refusal."""
    with _AT_ONCE:
        task = partial(_check, settings)
        (done,) = run_jobs(task, [_Inputs(video, audio)], n_workers=1, apart=True, limit_s=LIMIT_S)
    if done.failure is not None:
        named = " or ".join(str(path) for path in (video, audio) if path)
        raise Refusal(422, f"{named} is damaged, nothing can read it; convert it again")
    if done.value is not None:
        raise Refusal(*done.value)


def prepare() -> None:
    """Start what the first inspection would otherwise wait for, some seconds."""
    list(run_jobs(_nothing, [None], n_workers=1, apart=True))


def _nothing(_: None) -> None:
    pass


def _check(settings: Settings, inputs: _Inputs) -> tuple[int, str] | None:
    """The refusal that the inputs deserve, as plain data."""
    try:
        check_inputs(inputs.video, inputs.audio, settings)
    except Refusal as refusal:
        return refusal.status, refusal.sentence
    return None
