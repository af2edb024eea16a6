from functools import lru_cache

import pytest

from latentsync.errors import SpeechError
from latentsync.synthetic.espeak import usable_library
from latentsync.synthetic.head import TalkingHead


@pytest.fixture(scope="session")
def espeak():
    """Skips where speech cannot be synthesised."""
    try:
        return usable_library()
    except SpeechError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def head_of():
    """A function from a seed to its head; each is built once."""
    return lru_cache(maxsize=None)(TalkingHead)
