"""Why a request is refused."""

from collections.abc import Mapping


class Refusal(Exception):
    """A request that cannot be served: an HTTP status, one sentence for whoever sent it, and headers of the answer."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})
