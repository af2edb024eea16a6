"""Why a request is refused."""


class Refusal(Exception):
    """A request that cannot be served: an HTTP status, and one sentence for whoever sent it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
