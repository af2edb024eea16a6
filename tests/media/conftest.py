import psutil
import pytest


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    assert psutil.Process().children(recursive=True) == []
