"""What every test module shares."""

from pathlib import Path

import pytest

#: Real footage that lies beside a checkout on some machines; it is not part of the project.
MEDIA = Path(__file__).resolve().parents[2] / "shared/media"


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder of the real footage; skips the test where it is absent."""
    if not MEDIA.is_dir():
        pytest.skip(f"no real footage in {MEDIA}")
    return MEDIA


def pytest_terminal_summary(terminalreporter):
    from . import test_golden

    if test_golden.compared:
        count = sum(test_golden.compared.values())
        terminalreporter.write_line(f"{count} golden arrays of {len(test_golden.compared)} files compared")
