"""What reaches a server through somebody else's browser."""

import anyio
import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from .stub import form

URL = "/v2/generate"
JOB = f"{URL}/{'0' * 32}"
FOREIGN = "the request comes from a page of another site"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH", "X"])
def test_pages_of_other_sites_change_nothing(client, method, site):
    client = client()
    answer = client.request(method, JOB, headers={"sec-fetch-site": site, "origin": "http://testserver"})
    assert answer.status_code == 403 and answer.headers["connection"] == "close"
    assert answer.json()["detail"].startswith(FOREIGN) and "--base_url" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_they_may_link_here(client, method):
    headers = {"sec-fetch-site": "cross-site", "origin": "https://evil.test"}
    assert client().request(method, "/v2/health", headers=headers).status_code in (200, 405)


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}])
def test_own_pages_and_programs_may_send(client, tmp_path, headers):
    assert client().post(URL, **form(tmp_path), headers=headers).status_code == 201


@pytest.mark.parametrize(
    "host, origin, passes",
    [
        ("10.0.0.5:7860", "http://10.0.0.5:7860", True),
        ("LAB.test:7860", "http://lab.test:7860", True),
        ("[fd00::5]:7860", "http://[fd00::5]:7860", True),
        ("lab.test", "http://lab.test", True),
        ("lab.test:80", "http://lab.test", True),
        ("lab.test", "https://lab.test", True),  # a proxy in front speaks https
        ("127.0.0.1:7861", "https://lips.example.org", True),  # a proxy that does not pass the name on
        ("lab.test:7860", "http://lab.test", False),
        ("lab.test:7860", "http://lab.test:8000", False),
        ("lab.test:7860", "https://evil.test", False),
        ("lab.test:7860", "http://lab.test.evil.test:7860", False),
        ("lab.test:7860", "https://lips.example.org:8443", False),
        ("lab.test:7860", "null", False),
        ("lab.test:7860", "", False),
        ("", "null", False),
        ("[", "http://[", False),
        ("lab.test:x", "http://lab.test:x", False),
    ],
)
def test_without_sec_fetch_site_the_origin_tells(client, host, origin, passes):
    client = client(base_url="https://lips.example.org/")
    answer = client.delete(JOB, headers={"host": host, "origin": origin})
    assert answer.status_code == (404 if passes else 403), answer.text


def connects(client, headers: dict[str, str]) -> bool:
    try:
        with client.websocket_connect("/any", headers=headers):
            return True
    except WebSocketDisconnect as refused:
        assert refused.reason.startswith(FOREIGN)
        return False


def test_websockets_of_other_sites_are_refused(client):
    client = client()

    @client.app.websocket("/any")
    async def accept(socket: WebSocket):
        await socket.accept()

    assert connects(client, {}) and connects(client, {"origin": "http://testserver"})
    assert not connects(client, {"sec-fetch-site": "cross-site"})
    assert not connects(client, {"origin": "https://evil.test"})


def test_what_is_mounted_later_is_guarded_too(client):
    client = client()

    async def page(scope, receive, send):
        raise AssertionError("reached")

    client.app.mount("/", page)
    assert client.post("/upload", headers={"sec-fetch-site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("hosts", [("localhost", "127.0.0.1", "::1"), ("LOCALHOST", "127.0.0.1", "[::1]")])
def test_only_the_servers_names_lead_to_it(client, hosts):
    client = client(hosts=hosts, base_url="https://lips.example.org")
    for host in ("localhost", "Localhost:7860", "127.0.0.1:7860", "[::1]:7860", "[::1]", "lips.example.org"):
        assert client.get("/v2/health", headers={"host": host}).status_code == 200, host
    for host in ("evil.test", "localhost.evil.test:7860", "127.0.0.2", "[::2]:7860", "", "[", "localhost:x", "a@b@c"):
        answer = client.get("/v2/health", headers={"host": host})
        assert answer.status_code == 403, host
        assert "expected localhost or 127.0.0.1 or ::1" in answer.json()["detail"]
        assert "--base_url" in answer.json()["detail"]


def test_other_names_pass_where_none_are_given(client):
    assert client().get("/v2/health", headers={"host": "evil.test"}).status_code == 200


def test_a_request_without_a_host_is_refused_where_names_are_given(client):
    app, answers = client(hosts=("localhost",)).app, []

    async def send(message):
        answers.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v2/health", "headers": [], "query_string": b""}
    anyio.run(app, scope, None, send)
    assert answers[0]["status"] == 403
