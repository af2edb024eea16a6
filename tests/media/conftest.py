from pathlib import Path

import psutil
import pytest

from latentsync import REPO_ROOT


@pytest.fixture
def footage() -> Path:
    """The folder of real clips beside the checkout."""
    folder = REPO_ROOT.parent / "shared" / "media"
    if not folder.is_dir():
        pytest.skip(f"no real footage in {folder}")
    return folder


@pytest.fixture(autouse=True)
def nothing_left_running():
    yield
    assert psutil.Process().children(recursive=True) == []
