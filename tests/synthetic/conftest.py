import pytest

from latentsync.errors import SpeechError
from latentsync.synthetic.espeak import usable_library


@pytest.fixture(scope="session")
def espeak():
    """Skips where speech cannot be synthesised."""
    try:
        return usable_library()
    except SpeechError as error:
        pytest.skip(str(error))
