"""A multipart form that is written to the disk while it arrives: never more than a piece of it is in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio.to_thread import run_sync
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from .errors import Refusal

PIECE = 1 << 20  # bytes that are written at once
PATIENCE_S = 60.0  # without any byte
MAX_TEXT = 16_384  # bytes of a field that is not a file
FILES, TEXTS = ("video", "audio"), ("options", "webhook")


@dataclass
class Form:
    """What came: the client's names of the files, and the texts."""

    names: dict[str, str]
    texts: dict[str, str]


async def receive(
    content_type: str, pieces: AsyncIterator[bytes], place: Callable[[str, str], Path], limit: int
) -> Form:
    """Read a form of at most `limit` bytes; `place(field, client's file name)` says where a file goes.

    Raises Refusal (400, 408, 413 or 422) or OSError.
    """
    kind, parameters = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not parameters.get(b"boundary"):
        raise Refusal(400, "expected a form of the type multipart/form-data with the files video and audio")
    reader = _Reader(parameters[b"boundary"], place)
    waiting, size = bytearray(), 0
    try:
        async for piece in _patient(pieces):
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            waiting += piece
            if len(waiting) >= PIECE:
                await run_sync(reader.write, bytes(waiting))
                waiting.clear()
        await run_sync(reader.write, bytes(waiting))
        return reader.form()
    except MultipartParseError:
        raise Refusal(400, "the form is damaged; expected multipart/form-data") from None
    finally:
        reader.close()


def too_large(limit: int) -> Refusal:
    return Refusal(413, f"the upload is larger than the {limit / 1e6:g} MB that are allowed; shorten or compress it")


async def _patient(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces, as long as they come."""
    iterator = aiter(pieces)
    while True:
        try:
            with anyio.fail_after(PATIENCE_S):
                piece = await anext(iterator)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refusal(408, f"nothing came for {PATIENCE_S:g} s; send the files again") from None
        yield piece


class _Reader:
    """The parser's callbacks: parts go to their files or texts."""

    def __init__(self, boundary: bytes, place: Callable[[str, str], Path]) -> None:
        self._place = place
        self._names: dict[str, str] = {}
        self._texts: dict[str, bytearray] = {}
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._file: BinaryIO | None = None
        self._text: bytearray | None = None
        self._ended = False
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end")
        names = (*names, "headers_finished", "end")
        callbacks = {f"on_{name}": getattr(self, f"_on_{name}") for name in names}
        self._parser = MultipartParser(boundary, callbacks)

    def write(self, data: bytes) -> None:
        self._parser.write(data)

    def form(self) -> Form:
        if not self._ended:
            raise Refusal(400, "the form ended early; send it again")
        for field in FILES:
            if field not in self._names:
                raise Refusal(422, f"{field}: missing; expected the files video and audio")
        texts = {}
        for field, data in self._texts.items():
            try:
                texts[field] = data.decode()
            except UnicodeDecodeError:
                raise Refusal(422, f"{field}: expected text in UTF-8") from None
        return Form(self._names, texts)

    def close(self) -> None:
        if self._file:
            with suppress(OSError):  # of a disk that is full, which was told
                self._file.close()
            self._file = None

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode(errors="replace")
        if field not in FILES + TEXTS:
            known = ", ".join(FILES + TEXTS)
            raise Refusal(422, f"the field {field[:50]!r} is not known; expected {known}")
        if field in self._names or field in self._texts:
            raise Refusal(422, f"{field}: came twice; expected it once")
        if field in TEXTS:
            self._text = self._texts[field] = bytearray()
            return
        self._names[field] = options.get(b"filename", b"").decode(errors="replace")
        self._file = self._place(field, self._names[field]).open("xb")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            self._file.write(memoryview(data)[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > MAX_TEXT:
            raise Refusal(413, f"a text of the form is longer than {MAX_TEXT} bytes; shorten it")

    def _on_part_end(self) -> None:
        if self._file:
            self._file.close()
        self._file = self._text = None

    def _on_end(self) -> None:
        self._ended = True
