import json
import socket
from threading import Event
from time import monotonic

import pytest

from latentsync.service import webhook
from latentsync.service.errors import Refusal
from latentsync.service.webhook import Webhooks, is_public, resolve


@pytest.fixture
def names(monkeypatch):
    """A table of host names: each look-up takes the next answer, the last one stays."""
    table: dict[str, list[list[str]]] = {}
    look_up = socket.getaddrinfo
    asked: list[str] = []

    def getaddrinfo(host, port, *args, **kwargs):
        host = host.decode() if isinstance(host, bytes) else host
        if host not in table:
            return look_up(host, port, *args, **kwargs)
        asked.append(host)
        answers = table[host]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in (answers.pop(0) if len(answers) > 1 else answers[0])
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    table["asked"] = asked
    return table


def call(url: str, *, allow_private: bool = True) -> None:
    done = Event()
    hooks = Webhooks(allow_private=allow_private)
    hooks.send(url, json.dumps({"id": "1"}).encode(), done.set)
    assert done.wait(20)
    hooks.close()


@pytest.fixture(autouse=True)
def short_pause(monkeypatch):
    monkeypatch.setattr(webhook, "PAUSE_S", 0.01)


def test_the_job_is_posted(receiver):
    call(receiver.url())
    assert receiver.got == [("/done?x=1", f"127.0.0.1:{receiver.server_port}", b'{"id": "1"}')]


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/x", "file:///etc/passwd", "example.org", "http://", "https:///x", "", "\0",
     "http://user:word@example.org/", "https://example.org/" + "x" * 3000],
)  # fmt: skip
def test_only_plain_http_urls(url):
    with pytest.raises(Refusal, match="webhook: expected a URL") as caught:
        resolve(url, allow_private=True)
    assert caught.value.status == 422


PRIVATE = [
    "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a00:1::",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_others_are(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0", "["]
)
def test_no_way_of_writing_this_machine_is_public(host):
    with pytest.raises(Refusal, match=r"webhook: .* is not (a public address|known)"):
        resolve(f"http://{host}:8000/", allow_private=False)


def test_private_receivers_get_nothing(receiver):
    call(receiver.url(), allow_private=False)
    assert receiver.got == []


def test_all_addresses_of_a_host_must_be_public(names):
    names["mixed.test"] = [["93.184.216.34", "10.0.0.1"]]
    with pytest.raises(Refusal, match="is not a public address"):
        resolve("http://mixed.test/", allow_private=False)


def test_the_address_that_was_checked_is_the_one_that_is_called(receiver, names):
    names["swap.test"] = [["127.0.0.1"], ["127.0.0.2"]]  # nobody listens at the second
    call(receiver.url("swap.test"))
    assert [host for _, host, _ in receiver.got] == [f"swap.test:{receiver.server_port}"]
    assert names["asked"] == ["swap.test"]


def test_a_swap_to_a_private_address_is_refused_at_the_next_look(receiver, names):
    names["swap.test"] = [["93.184.216.34"], ["127.0.0.1"]]
    assert resolve(receiver.url("swap.test"), allow_private=False).address == "93.184.216.34"
    call(receiver.url("swap.test"), allow_private=False)
    assert receiver.got == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(receiver, status):
    receiver.statuses = [status] * 9
    call(receiver.url())
    assert {path for path, _, _ in receiver.got} == {"/done?x=1"}


def test_a_failed_call_is_tried_once_more(receiver, caplog):
    receiver.statuses = [500]
    call(receiver.url())
    assert len(receiver.got) == 2
    receiver.statuses = [500] * 9
    call(receiver.url())
    assert len(receiver.got) == 4
    assert "The webhook at 127.0.0.1 failed: it answered 500" in caplog.text and "x=1" not in caplog.text


def test_a_receiver_that_dawdles_is_left(receiver, monkeypatch):
    monkeypatch.setattr(webhook, "LIMIT_S", 0.3)
    receiver.stalls = True
    started = monotonic()
    call(receiver.url())
    assert len(receiver.got) == 2 and monotonic() - started < 3


def test_nobody_listens(names):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call(f"http://127.0.0.1:{port}/")
    with pytest.raises(Refusal, match="is not known"):
        resolve("http://no-such-host.invalid/", allow_private=True)
