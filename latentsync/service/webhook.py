"""Telling clients that a job has ended: by POST to a public address, once resolved, never redirected."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import httpx

from .errors import Refusal

LIMIT_S = 5.0
ATTEMPTS = 2
PAUSE_S = 1.0  # between them
_THREADS = 4  # a slow receiver delays few others
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """Where a webhook leads: the URL, and the address that its host had when that was checked."""

    url: httpx.URL
    address: str


def check_url(text: str) -> httpx.URL:
    """The URL of a webhook, no address looked up yet. Raises Refusal."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or len(text) > 2000:
        raise Refusal(422, "webhook: expected a URL such as https://example.org/done, with http or https")
    if url.userinfo:
        raise Refusal(422, "webhook: expected a URL without a name and a password; put a token into its path")
    return url


def resolve(text: str, *, allow_private: bool) -> Target:
    """Look the host of a webhook up, once. Raises Refusal, also where any of its addresses is not public."""
    url = check_url(text)
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    try:
        found = socket.getaddrinfo(url.raw_host.decode(), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Refusal(422, f"webhook: the host {url.host} is not known; correct it") from None
    addresses = [entry[4][0] for entry in found]
    if not addresses or not (allow_private or all(is_public(address) for address in addresses)):
        raise Refusal(422, f"webhook: {url.host} is not a public address, and this server calls no other")
    return Target(url, addresses[0])


def is_public(address: str) -> bool:
    """Whether anybody may be reached there: not this machine, its network, a multicast group, or a way to these."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if ip.version == 6:
        inside = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inside = ipaddress.ip_address(int(ip) & 0xFFFFFFFF)
        if inside and not is_public(str(inside)):
            return False
        if ip.ipv4_mapped:
            return True
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


async def post(target: Target, body: bytes) -> int:
    """The status that the receiver answers. Raises httpx.HTTPError or TimeoutError."""
    url = target.url.copy_with(host=target.address)
    headers = {"host": target.url.netloc.decode(), "content-type": "application/json", "user-agent": "latentsync"}
    extensions = {"sni_hostname": target.url.raw_host.decode()}  # the certificate is still the host's

    async def send() -> int:
        async with httpx.AsyncClient(timeout=LIMIT_S, follow_redirects=False, trust_env=False) as client:
            request = client.build_request("POST", url, content=body, headers=headers, extensions=extensions)
            answer = await client.send(request, stream=True)  # whatever else it says is not read
            await answer.aclose()
            return answer.status_code

    return await asyncio.wait_for(send(), LIMIT_S)


class Webhooks:
    """Calls receivers in threads of its own; a call that fails is tried once more, and then logged."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook")
        self._closing = Event()

    def send(self, url: str, body: bytes, done: Callable[[], None]) -> None:
        """Start a call; `done` follows it, whatever came of it."""
        self._pool.submit(self._deliver, url, body, done)

    def close(self) -> None:
        """Wait for the calls under way; others are left."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _deliver(self, url: str, body: bytes, done: Callable[[], None]) -> None:
        for attempt in range(ATTEMPTS):
            if attempt:
                self._closing.wait(PAUSE_S)
            try:
                target = resolve(url, allow_private=self._allow_private)
                status = asyncio.run(post(target, body))
                problem = None if 200 <= status < 300 else f"it answered {status}"
            except Refusal as refusal:
                problem = refusal.sentence
            except (httpx.HTTPError, OSError, asyncio.TimeoutError) as error:
                problem = type(error).__name__
            if problem is None:
                break
            logger.warning("The webhook at %s failed: %s", httpx.URL(url).host, problem)
        done()
