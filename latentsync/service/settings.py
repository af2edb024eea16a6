"""What the operator of a server decides."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Limits and places of one server."""

    data: Path  # folder of the queue and of the runs; no two servers share one
    devices: tuple[str, ...] = ("auto",)  # each works on one job at a time
    models: tuple[str, ...] = ("demo",)  # names of the networks that a job may choose from; the first unless it does
    max_upload_bytes: int = 500_000_000  # of one request, video and sound together
    min_free_bytes: int = 2_000_000_000  # that an upload must leave on the disk, for the work on it
    max_seconds: float = 600  # of the video and of the sound
    max_pixels: int = 4096 * 4096  # of a frame
    keep_hours: float = 24  # that a job and its result stay after its end
    max_queue: int = 100  # jobs that wait
    api_key: str | None = None  # that requests must carry as x-api-key
    auth: tuple[str, str] | None = None  # user and password of people; the API takes them by HTTP Basic, or the key
    allow_private_webhooks: bool = False  # also call addresses that are not public
    base_url: str = ""  # the server as clients see it, such as https://lips.example.org; put before each address
    hosts: tuple[str, ...] = ()  # that requests may name, without ports, beside that of base_url; any if empty
