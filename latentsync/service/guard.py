"""Who may reach a server through a browser: neither pages of other sites, nor names that are not the server's."""

from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .settings import Settings

_READING = ("GET", "HEAD", "OPTIONS")
_PORTS = {"http": 80, "https": 443}
_FOREIGN = (
    "the request comes from a page of another site, expected one of this server; open the server itself, or start it "
    "with --base_url and the address that its clients use"
)
_UNKNOWN_NAME = (
    "the request names a host that is not this server's, expected {}; use that, or start the server with --base_url "
    "and the address that its clients use"
)


class Guard:
    """ASGI middleware that refuses, with 403, what a foreign web page makes a browser of somebody else send.

    A page may send to any address, also to a server without a key on its visitor's own machine. Browsers say where
    such a request comes from; what changes nothing passes, as pages cannot read the answer. A page may also have its
    own host's name lead to that machine (DNS rebinding): `Settings.hosts` says which names are the server's.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._base = _split(settings.base_url)
        self._hosts = [host.strip("[]").lower() for host in settings.hosts]
        if self._hosts and self._base.hostname:
            self._hosts.append(self._base.hostname)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] in ("http", "websocket") else None
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            # What the client still sends is not wanted.
            await JSONResponse({"detail": problem}, 403, {"connection": "close"})(scope, receive, send)
        else:  # before it is accepted, that is a 403
            await send({"type": "websocket.close", "code": 1008, "reason": problem})

    def _problem(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        if self._hosts and _split("//" + headers.get("host", "")).hostname not in self._hosts:
            return _UNKNOWN_NAME.format(" or ".join(self._hosts))
        if scope.get("method") not in _READING and self._is_foreign(headers):
            return _FOREIGN
        return None

    def _is_foreign(self, headers: Headers) -> bool:
        """Whether a page of another site made the request, as far as its browser tells."""
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in ("cross-site", "same-site")
        if "origin" not in headers:  # no browser
            return False
        origin = _split(headers["origin"])
        own = _split(f"{origin.scheme}://{headers.get('host', '')}")  # a proxy may be the one that speaks https
        return _place(origin) is None or _place(origin) not in (_place(own), _place(self._base))


def _split(url: str) -> SplitResult:
    """The parts of a URL; of nothing where it is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- raises, too
    except ValueError:
        return urlsplit("")
    return parts


def _place(url: SplitResult) -> tuple[str, int | None] | None:
    """Host and port, the scheme's own where none is given; None where there is no host, as in the origin "null"."""
    return (url.hostname, url.port or _PORTS.get(url.scheme)) if url.hostname else None
