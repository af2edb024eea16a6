"""What the API answers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .jobs import COMPLETED, STATUSES, Job
from .options import JobOptions

PATH = "/v2/generate"


class Problem(BaseModel):
    """Any error."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"detail": "video: missing; expected video and audio"}]})

    detail: str = Field(description="One sentence: what was expected, what came, what to do.")


class Progress(BaseModel):
    done: int = Field(description="Frames that are done.")
    total: int = Field(description="Frames in all; 0 while that is not known.")
    stage: str = Field(description="What is going on.")


class Report(BaseModel):
    """What a run did."""

    model_config = ConfigDict(extra="allow")

    frames: int = Field(description="Frames as long as the sound lasts.")
    faceless: list[tuple[int, int]] = Field(description="First and last frame of each gap without a face.")
    tail: int = Field(description="Frames after the sound's end, as they were.")
    seconds: dict[str, float] = Field(description="Busy time of each stage; stages overlap.")
    seed: int = Field(description="Makes the same video again.")
    model: str
    device: str


class JobAnswer(BaseModel):
    """A job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "6f1c2f0a4b7e4d0f9a53c1f2a9d0b7e1",
                    "status": "processing",
                    "position": None,
                    "url": f"{PATH}/6f1c2f0a4b7e4d0f9a53c1f2a9d0b7e1",
                    "output_url": None,
                    "created": 1764500000.1,
                    "started": 1764500001.2,
                    "ended": None,
                    "progress": {"done": 75, "total": 250, "stage": "lip sync"},
                    "reason": None,
                    "options": {"seed": 1247, "face": "largest", "fps": "25"},
                    "report": None,
                }
            ]
        }
    )

    id: str
    status: Literal[STATUSES]
    position: int | None = Field(description="In the queue: 1 is next. null where the job does not wait.")
    url: str = Field(description="Where this answer is, with news.")
    output_url: str | None = Field(description="Where the video is, once the job is completed.")
    created: float = Field(description="Seconds since 1970, as the two others.")
    started: float | None
    ended: float | None
    progress: Progress
    reason: str | None = Field(description="Why the job failed.")
    options: JobOptions
    report: Report | None = Field(description="Of a completed job.")


class Device(BaseModel):
    device: str
    busy: bool = Field(description="Whether a job is worked on there.")


class Health(BaseModel):
    models: list[str] = Field(description="What a job may choose from; the first is used where it does not.")
    devices: list[Device]
    queue: int = Field(description="Jobs that wait.")
    max_queue: int


def answer(job: Job, base_url: str = "") -> JobAnswer:
    """A job as clients see it."""
    url = f"{base_url.rstrip('/')}{PATH}/{job.id}"
    return JobAnswer(
        id=job.id,
        status=job.status,
        position=job.position,
        url=url,
        output_url=f"{url}/result" if job.status == COMPLETED else None,
        created=job.created,
        started=job.started,
        ended=job.ended,
        progress=Progress(done=job.done, total=job.total, stage=job.stage),
        reason=job.reason or None,
        options=job.options,
        report=job.report,
    )
