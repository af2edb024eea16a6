"""The HTTP API of a server."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .. import __version__
from .access import access
from .errors import Refusal
from .guard import Guard
from .jobs import COMPLETED, FAILED, Job
from .options import JobOptions
from .runner import Model
from .schemas import PATH, Device, Health, JobAnswer, Problem
from .service import Service
from .settings import Settings

_ABOUT = """
Send a video and a sound to `POST /v2/generate`, ask `GET /v2/generate/{id}` how far the job is, and fetch the video
from its `output_url`. Jobs wait in one queue, which outlives the server. Whoever has a job's id may see and remove it,
so keep it secret. Every error is `{"detail": "sentence"}`.
"""
_FORM = {
    "type": "object",
    "required": ["video", "audio"],
    "additionalProperties": False,
    "properties": {
        "video": {"type": "string", "format": "binary", "description": "Any video or picture that ffmpeg reads."},
        "audio": {"type": "string", "format": "binary", "description": "Any file with sound, also a video."},
        "options": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobOptions"},
            "description": "JobOptions as JSON.",
            "examples": ['{"guidance_scale": 1.5, "seed": 1247}'],
        },
        "webhook": {
            "type": "string",
            "description": "An http or https URL that gets the job by POST when it has ended, 5 s for an answer.",
            "examples": ["https://example.org/done"],
        },
    },
}


def build_app(settings: Settings, load: Callable[[str, str], Model]) -> FastAPI:
    """A server that works while its lifespan lasts; `app.state.service` is what the API calls.

    `load(device, model)` is called once for each device and each of the settings' models, here. Raises what it raises,
    and ConfigError where the data folder cannot be used.
    """
    service = Service(settings, load)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.stop()

    app = FastAPI(title="LatentSync", version=__version__, description=_ABOUT, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(Guard, settings=settings)
    _answer_problems(app)
    _add_routes(app, service)
    _complete_document(app)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    def find(id: str) -> Job:
        job = service.store.get(id)
        if job is None:
            raise Refusal(404, "no such job; it may have been removed, as old ones are")
        return job

    guarded = {"dependencies": [Depends(access(service.settings))]}
    form = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}

    @app.post(
        PATH,
        status_code=201,
        openapi_extra=form,
        responses=_problems(400, 401, 408, 413, 422, 429, 503),
        **guarded,
    )
    async def generate(request: Request, response: Response) -> JobAnswer:
        """Queue a video to be made."""
        length = request.headers.get("content-length", "")
        service.check_room(int(length) if length.isdecimal() else None)
        job = await service.submit(request.headers.get("content-type", ""), request.stream())
        answer = service.answer(job)
        response.headers["location"] = answer.url
        return answer

    @app.get(PATH + "/{id}", responses=_problems(401, 404), **guarded)
    def job(id: str) -> JobAnswer:
        """How a job is getting on."""
        return service.answer(find(id))

    @app.delete(
        PATH + "/{id}", responses={204: {"description": "Removed, it had ended."}, **_problems(401, 404)}, **guarded
    )
    def delete(id: str) -> JobAnswer:
        """Cancel a job that waits or is worked on; remove one that has ended, with its video."""
        find(id)
        if service.cancel(id):
            return service.answer(find(id))
        service.remove(id)
        return Response(status_code=204)

    video = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}

    @app.get(
        PATH + "/{id}/result",
        response_class=FileResponse,
        responses={
            200: {"description": "The video.", **video},
            206: {"description": "The part of it that a Range header named.", **video},
            **_problems(400, 401, 404, 409, 416),
        },
        **guarded,
    )
    def result(id: str) -> FileResponse:
        """The video of a completed job; ranges are answered."""
        found = find(id)
        if found.status != COMPLETED:
            why = f" ({found.reason})" if found.status == FAILED else ""
            raise Refusal(409, f"expected a completed job, this one is {found.status}{why}; ask for its status")
        path = service.storage.result(id)
        if not path.is_file():
            raise Refusal(404, "the video of this job has been removed")
        return FileResponse(path, media_type="video/mp4", filename=f"{id[:8]}.mp4", content_disposition_type="inline")

    @app.get("/v2/health")
    def health() -> Health:
        """Devices and queue; needs no key."""
        busy = {job.device for job in service.store.processing()}
        return Health(
            models=list(service.settings.models),
            devices=[Device(device=name, busy=name in busy) for name in service.settings.devices],
            queue=service.store.n_queued(),
            max_queue=service.settings.max_queue,
        )


def _answer_problems(app: FastAPI) -> None:
    """Every error has the same shape."""

    def problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"detail": sentence}, status, headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        # What the client still sends is not wanted.
        closing = {"connection": "close"} if request.method == "POST" else {}
        return problem(refusal.status, refusal.sentence, refusal.headers | closing)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return problem(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return problem(400, "the connection ended early")  # nobody reads it

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return problem(500, "an error of the server; its operator finds the details in the log")


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses}


def _complete_document(app: FastAPI) -> None:
    """Add the options' schema, as they come as text, and leave out the framework's own kind of error."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        schemas = document["components"]["schemas"]
        schemas["JobOptions"] = JobOptions.model_json_schema()
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        return document

    app.openapi = openapi
