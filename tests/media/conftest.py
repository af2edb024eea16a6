import pytest

from .make import children


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    assert children() == []
