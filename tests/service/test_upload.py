import tracemalloc
from pathlib import Path

import anyio
import pytest

from latentsync.service import upload
from latentsync.service.errors import Refusal
from latentsync.service.upload import receive

BOUNDARY = "----x"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
VIDEO, AUDIO = part("video", b"\r\n--picture\0" * 50, "a.mp4"), part("audio", b"tone" * 99, "b.wav")


def read(folder: Path, body: bytes, size: int = 1000, limit: int = 10**9, content_type: str = TYPE):
    async def pieces():
        for i in range(0, len(body), size):
            yield body[i : i + size]

    return anyio.run(receive, content_type, pieces(), lambda field, name: folder / field, limit)


@pytest.mark.parametrize("size", [1, 7, 64, 10**6])
def test_files_and_texts_arrive_in_any_pieces(tmp_path, monkeypatch, size):
    monkeypatch.setattr(upload, "PIECE", 10)
    body = part("options", '{"face": "1"} é'.encode()) + VIDEO + part("webhook", b"") + AUDIO + END
    form = read(tmp_path, body, size)
    assert form.names == {"video": "a.mp4", "audio": "b.wav"}
    assert form.texts == {"options": '{"face": "1"} é', "webhook": ""}
    assert (tmp_path / "video").read_bytes() == b"\r\n--picture\0" * 50
    assert (tmp_path / "audio").read_bytes() == b"tone" * 99


@pytest.mark.parametrize(
    "body, status, words",
    [
        (VIDEO + END, 422, "audio: missing"),
        (END, 422, "video: missing"),
        (VIDEO + AUDIO, 400, "the form ended early"),
        (VIDEO + AUDIO[:-20], 400, "the form ended early"),
        (b"", 400, "the form ended early"),
        (b"nonsense" * 9, 400, "the form is damaged"),
        (VIDEO + VIDEO + AUDIO + END, 422, "video: came twice"),
        (VIDEO + AUDIO + part("model", b"x") + END, 422, "the field 'model' is not known; expected video, audio"),
        (VIDEO + AUDIO + part("../x", b"x", "y") + END, 422, "the field '../x' is not known"),
        (VIDEO + AUDIO + part("options", b"x" * 20000) + END, 413, "a text of the form is longer than 16384 bytes"),
        (VIDEO + AUDIO + part("options", b"\xff") + END, 422, "options: expected text in UTF-8"),
        (part("video" + "x" * 20000, b"") + END, 400, "the form is damaged"),
    ],
)
def test_other_forms_are_refused(tmp_path, body, status, words):
    for size in (9, 10**6):
        with pytest.raises(Refusal, match=words) as caught:
            read(tmp_path, body, size)
        assert caught.value.status == status
        for path in tmp_path.iterdir():
            path.unlink()


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_other_types_are_refused(tmp_path, kind):
    with pytest.raises(Refusal, match="multipart/form-data") as caught:
        read(tmp_path, VIDEO + AUDIO + END, content_type=kind)
    assert caught.value.status == 400


def test_the_size_is_limited_while_it_comes(tmp_path):
    body = VIDEO + AUDIO + END
    read(tmp_path, body, limit=len(body))
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(Refusal, match="larger than the 0") as caught:
        read(tmp_path, body, limit=500)
    assert caught.value.status == 413


def test_a_client_that_stalls_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(upload, "PATIENCE_S", 0.05)

    async def pieces():
        yield VIDEO
        await anyio.sleep(20)

    with pytest.raises(Refusal, match="nothing came") as caught:
        anyio.run(receive, TYPE, pieces(), lambda field, name: tmp_path / field, 10**9)
    assert caught.value.status == 408


def test_memory_does_not_depend_on_the_size(tmp_path):
    async def pieces():
        yield VIDEO[:-2]
        for _ in range(1024):
            yield bytes(64 << 10)
        yield b"\r\n" + AUDIO + END

    tracemalloc.start()
    anyio.run(receive, TYPE, pieces(), lambda field, name: tmp_path / field, 10**9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "video").stat().st_size > 60 << 20
    assert peak < 8 << 20
