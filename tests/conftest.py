"""What every test module shares."""

from collections.abc import Callable
from pathlib import Path

import pytest

#: Real footage that lies beside a checkout on some machines; it is not part of the project.
MEDIA = Path(__file__).resolve().parents[2] / "shared/media"


@pytest.fixture(scope="session")
def footage() -> Callable[[str], Path]:
    """A function from a file's name to its path among the real footage; skips the test where it is absent."""

    def find(name: str) -> Path:
        if not (MEDIA / name).is_file():
            pytest.skip(f"no {name} in {MEDIA}")
        return MEDIA / name

    return find


def pytest_terminal_summary(terminalreporter):
    from . import test_golden

    if test_golden.compared:
        count = sum(test_golden.compared.values())
        terminalreporter.write_line(f"{count} golden arrays of {len(test_golden.compared)} files compared")
