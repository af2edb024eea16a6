"""Golden families: for each, a function that recomputes every array of a golden file.

A family function takes a `Golden` and returns {array name: value}. A value is an array, compared with the
file's own `rtol` and `atol`, or `(array, check)` where `check(actual, expected)` raises AssertionError.
Modules in this package register theirs with `@family("name")`; tests/test_golden.py does the rest.
"""

import ast
import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Check = Callable[[np.ndarray, np.ndarray], None]
FAMILIES: dict[str, Callable[["Golden"], dict]] = {}


@dataclass(frozen=True)
class Golden:
    """One golden file: what to build (`meta`, the JSON) and what must come out (`arrays`, the npz)."""

    name: str
    meta: dict
    arrays: dict[str, np.ndarray]

    @classmethod
    def load(cls, path: Path) -> "Golden":
        meta = json.loads(path.read_text())
        with np.load(path.with_name(meta["file"])) as stored:
            return cls(path.stem, meta, dict(stored))


def family(name: str):
    def register(function):
        FAMILIES[name] = function
        return function

    return register


def load_families() -> dict[str, Callable[[Golden], dict]]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return FAMILIES


def close(rtol: float, atol: float) -> Check:
    """|actual - expected| <= atol + rtol * |expected|, elementwise; integers must be equal."""

    def check(actual: np.ndarray, expected: np.ndarray) -> None:
        if expected.dtype.kind in "iub":
            np.testing.assert_array_equal(actual, expected)
        else:
            np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)

    return check


def pixels(share: float) -> Check:
    """uint8 pictures that differ by at most one grey level, in fewer than `share` of the values."""

    def check(actual: np.ndarray, expected: np.ndarray) -> None:
        assert actual.shape == expected.shape and actual.dtype == expected.dtype == np.uint8
        difference = np.abs(actual.astype(int) - expected.astype(int))
        assert difference.max() <= 1, f"differs by up to {difference.max()} grey levels"
        assert (difference > 0).mean() < share, f"{(difference > 0).mean():.2%} of the values differ"

    return check


def mean_within(bound: float) -> Check:
    """Arrays whose mean absolute difference is below `bound` (for the float16 'information' arrays)."""

    def check(actual: np.ndarray, expected: np.ndarray) -> None:
        assert actual.shape == expected.shape
        difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).mean()
        assert difference < bound, f"mean difference {difference:.3g}"

    return check


def compare(golden: Golden) -> int:
    """Recompute one golden file and compare every array (all but `trace`); returns how many were compared."""
    function = FAMILIES.get(golden.meta["family"])
    assert function is not None, f"unknown golden family {golden.meta['family']!r}"
    computed = function(golden)
    expected = {name: array for name, array in golden.arrays.items() if name != "trace"}
    assert computed.keys() == expected.keys(), (
        f"not compared: {sorted(expected.keys() - computed.keys())}; "
        f"not in the file: {sorted(computed.keys() - expected.keys())}"
    )
    default = close(golden.meta.get("rtol", 0.0), golden.meta.get("atol", 0.0))
    for name, value in computed.items():
        actual, check = value if isinstance(value, tuple) else (value, default)
        actual = np.asarray(actual)
        assert actual.shape == expected[name].shape, f"{name}: {actual.shape} instead of {expected[name].shape}"
        try:
            check(actual, expected[name])
        except AssertionError as error:
            raise AssertionError(f"{golden.name}, array {name}: {error}") from None
    return len(computed)


def stated_input(golden: Golden, key: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """An input, made by the rule that the file's `inputs` states for it; the stored array where none is stated.

    Rules read like "normal('tag')" or "waveform_float('tag', 3.0)"; "zeros then ..." fills the second half.
    """
    shape = golden.arrays[key].shape if key in golden.arrays else shape
    text = golden.meta.get("inputs", {}).get(key, "")
    call = re.search(r"\b(normal|uniform|waveform_float)(\([^)]*\))", text)
    if call is None:
        return golden.arrays[key]
    function = getattr(golden_rule(), call[1])
    tag, *numbers = ast.literal_eval(call[2].replace(")", ",)"))
    if call[1] == "waveform_float":
        return function(tag, *numbers)
    if text.startswith("zeros then"):
        half = function(tag, (shape[0] // 2, *shape[1:]), *numbers)
        return np.concatenate([np.zeros_like(half), half])
    return function(tag, shape, *numbers)


def golden_rule():
    """The weight and input rule that is stored beside the golden files, as a module."""
    path = str(Path(__file__).resolve().parents[1] / "golden")
    if path not in sys.path:
        sys.path.append(path)
    return importlib.import_module("deterministic_weights")
