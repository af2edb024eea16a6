"""A job in words and bars, as HTML."""

import base64
import time
from fractions import Fraction

from markupsafe import Markup

from .jobs import CANCELLED, COMPLETED, FAILED, QUEUED, Job
from .still import SEARCHED_S, Still
from .texts import Texts

_TELLING = 8  # frames that tell how long the others will take
_LINE = Markup("<p class='{}'>{}</p>")
_BAR = Markup("<div class='bar' role='progressbar' aria-valuenow='{0}'><div style='width: {0}%'></div></div>")
_ROW = Markup("<tr><th>{}</th><td>{}</td></tr>")


def note(text: str) -> Markup:
    return _LINE.format("note", text)


def problem(texts: Texts, sentence: str) -> Markup:
    """What went wrong."""
    return _LINE.format("problem", Markup("<strong>{}</strong> {}").format(texts.failed, sentence))


class Estimate:
    """How long a job will still take, by what its frames took. They come in bursts; between those it counts down."""

    def __init__(self) -> None:
        self._done, self._since = 0, 0.0

    def __call__(self, job: Job) -> float | None:
        """Seconds; None while nobody knows. To be asked again and again while the job is worked on."""
        now = time.time()
        if job.done != self._done:
            self._done, self._since = job.done, now
        if job.done < _TELLING:
            return None
        left = (self._since - job.started) * (job.total - job.done) / job.done
        return max(1.0, left - (now - self._since))


def status(texts: Texts, job: Job, keep_hours: float, left_s: float | None = None) -> Markup:
    """How a job is getting on."""
    if job.status == QUEUED:
        return note(texts.queued.format(position=job.position))
    if job.status == COMPLETED:
        keep = note(texts.keep.format(hours=keep_hours))
        return _LINE.format("done", texts.completed.format(time=length(texts, job.ended - job.started))) + keep
    if job.status == CANCELLED:
        return note(texts.cancelled)
    if job.status == FAILED:
        return problem(texts, job.reason)
    spent = time.time() - job.started
    parts = [texts.stages.get(job.stage, job.stage)]
    if job.total:
        parts.append(texts.frames_done.format(done=job.done, total=job.total))
    if left_s is not None:
        parts.append(texts.time_left.format(time=length(texts, left_s)))
    else:
        parts.append(texts.time_spent.format(time=length(texts, spent)))
    return note(" · ".join(parts)) + _BAR.format(round(100 * job.done / job.total) if job.total else 0)


def picture(jpeg: bytes) -> Markup:
    return Markup("<img class='preview' alt='' src='data:image/jpeg;base64,{}'>").format(
        base64.b64encode(jpeg).decode()
    )


def face_note(texts: Texts, still: Still, face: str) -> Markup:
    """Which face will be used."""
    if not still.faces:
        return note(texts.no_face.format(seconds=SEARCHED_S))
    if still.chosen(face) is None:
        return note(texts.face_missed)
    return note(texts.one_face if len(still.faces) == 1 else texts.several_faces)


def report(texts: Texts, job: Job) -> Markup:
    """What a completed job did."""
    told = job.report
    frames = str(told["frames"])
    if told["tail"]:
        frames += " + " + texts.rest_kept.format(frames=told["tail"])
    gaps = ", ".join(_span(job, first, last) for first, last in told["faceless"]) or texts.whole
    works = ", ".join(f"{texts.works.get(name, name)} {length(texts, busy)}" for name, busy in told["seconds"].items())
    rows = [
        (texts.model, told["model"]),
        (texts.device, told["device"]),
        (texts.frames, frames),
        (texts.no_face_in, gaps),
        (texts.seed, told["seed"]),
        (texts.busy, works),
    ]
    return Markup("<table class='report'>{}</table>").format(Markup("").join(_ROW.format(*row) for row in rows))


def length(texts: Texts, seconds: float) -> str:
    """A time in words."""
    if seconds < 60:
        return texts.seconds.format(round(seconds, 1) if seconds < 10 else round(seconds))
    minutes, rest = divmod(round(seconds), 60)
    return (texts.minutes + (" " + texts.seconds if rest else "")).format(rest, minutes)


def _span(job: Job, first: int, last: int) -> str:
    """The times, or where the rate is the video's own the numbers, of some frames."""
    if job.options["fps"] == "source":
        return f"{first}-{last}"
    rate = Fraction(job.options["fps"])
    return f"{_clock(first / rate)}-{_clock((last + 1) / rate)}"


def _clock(seconds: Fraction) -> str:
    minutes, tenths = divmod(round(seconds * 10), 600)
    return f"{minutes}:{tenths / 10:04.1f}"
