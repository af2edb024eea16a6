"""How a job's video shall be made, as a client writes it: names and ranges of scripts/inference.py."""

import re
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..errors import ConfigError
from ..face.track import parse_face
from .errors import Refusal

MAX_SEED = 2**64 - 1
_FACE = "largest, an index counted from the left, or x,y in pixels"
_RATE = re.compile(r"[0-9]{1,7}(\.[0-9]{1,20}|/[0-9]{1,7})?")  # a Fraction of "1e999999999" would take for ever
_FPS = "source or a rate from 1 to 240, such as 25 or 30000/1001"


class JobOptions(BaseModel):
    """Options of a job. All may be left out."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"examples": [{"guidance_scale": 1.5, "inference_steps": 20, "seed": 1247}]},
    )

    guidance_scale: Annotated[float, Field(ge=1, le=3, allow_inf_nan=False)] | None = Field(
        None, description="More is in better sync and less steady; 1 is off. The model's own if left out."
    )
    inference_steps: Annotated[int, Field(ge=1, le=999)] | None = Field(
        None, description="More is better and slower. The model's own if left out."
    )
    seed: int = Field(1247, ge=-1, le=MAX_SEED, description="-1 is random; the report says which seed was used.")
    face: str = Field("largest", max_length=50, description=f"Whose lips: {_FACE}.")
    fps: str | int | float = Field("25", description=f"Of the output: {_FPS}.")
    loop: Literal["pingpong", "loop", "freeze", "cut"] = Field(
        "pingpong", description="Where the sound outlasts the video."
    )
    tail: Literal["cut", "keep"] = Field(
        "cut", description="Where the video outlasts the sound: cut it, or keep the rest with silence."
    )
    crf: int = Field(18, ge=0, le=51, description="Quality of the file: lower is better and larger.")
    model: str | None = Field(None, max_length=100, description="One of /v2/health's; the first if left out.")

    @field_validator("face")
    @classmethod
    def _face_is_a_choice(cls, text: str) -> str:
        try:
            parse_face(text)
        except ConfigError:
            raise ValueError(f"expected {_FACE}") from None
        return text

    @field_validator("fps")
    @classmethod
    def _fps_is_a_rate(cls, value: str | int | float) -> str:
        text = str(value)
        if text == "source":
            return text
        try:
            rate = Fraction(text) if _RATE.fullmatch(text) else 0
        except ZeroDivisionError:
            rate = 0
        if not 1 <= rate <= 240:
            raise ValueError(f"expected {_FPS}")
        return text


def read_options(text: str | bytes) -> JobOptions:
    """The options of a JSON object; of none where the text is empty. Raises Refusal."""
    if not text.strip():
        return JobOptions()
    try:
        return JobOptions.model_validate_json(text)
    except ValidationError as error:
        raise Refusal(422, _sentence(error)) from None


def pipeline_settings(given: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of a pipeline from a job's options; its own where there are none."""
    names = {"inference_steps": "num_inference_steps", "fps": "video_fps"}
    given = {name: value for name, value in given.items() if value is not None and name not in ("model", "seed")}
    settings = {names.get(name, name): value for name, value in given.items()}
    if "video_fps" in settings:
        fps = settings["video_fps"]
        settings["video_fps"] = None if fps == "source" else Fraction(fps)
    return settings


def _sentence(error: ValidationError) -> str:
    """The first mistake in words."""
    first = error.errors(include_url=False, include_context=False)[0]
    names = ", ".join(JobOptions.model_fields)
    if first["type"] == "json_invalid":
        return f"options: expected a JSON object with any of {names}; got {first['msg'].lower()}"
    if not first["loc"]:
        return f"options: expected a JSON object with any of {names}; got another kind of value"
    name = first["loc"][0]
    if first["type"] == "extra_forbidden":
        return f"options: {str(name)[:50]!r} is not known; expected any of {names}"
    message = first["msg"].removeprefix("Value error, ")
    return f"options: {name}: {message[:1].lower()}{message[1:]}, got {str(first['input'])[:50]!r}"
