import psutil
import pytest


@pytest.fixture(autouse=True)
def nothing_left_running():
    before = set(psutil.Process().children(recursive=True))  # multiprocessing's own, if an earlier test used it
    yield
    assert set(psutil.Process().children(recursive=True)) <= before
