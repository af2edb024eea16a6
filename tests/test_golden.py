"""Every golden file of a folder (tests/golden, or GOLDEN_DIR) is recomputed and compared, array by array."""

import os
from pathlib import Path

import pytest

from .golden_families import Golden, compare, load_families

FOLDER = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
FILES = sorted(FOLDER.glob("*.json"))


@pytest.fixture(scope="module", autouse=True)
def families():
    load_families()


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_golden(path, record_property):
    record_property("golden arrays", compare(Golden.load(path)))


def test_folder_has_goldens():
    assert FILES, f"no golden files in {FOLDER}"


def test_unknown_family_fails():
    with pytest.raises(AssertionError, match="unknown golden family"):
        compare(Golden("x", {"family": "no such thing"}, {}))
