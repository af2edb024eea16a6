"""requirements.txt resolves to wheels on every supported Python and system, and declares every import."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import setup_env
from scripts.setup_env import TORCH_FAMILY, read_pins

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12")
SYSTEMS = ("linux", "windows", "macos")
OURS = {"eval", "latentsync", "preprocess", "scripts", "tools"}
DISTRIBUTIONS = {  # import name -> distribution, where they differ
    "PIL": "pillow",
    "cv2": "opencv-python",
    "huggingface_hub": "huggingface-hub",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "skimage": "scikit-image",
    "python_multipart": "python-multipart",
    "torch_fidelity": "torch-fidelity",
    "whisper": "openai-whisper",
    "yaml": "pyyaml",
}
OPTIONAL = {"onnxruntime", "espeakng_loader", "ray"}  # imported where used, with a message naming the install command


def pip_settings() -> dict[str, list[str]]:
    """Where pip is told to look: option -> values, of its files and its environment variables."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    settings: dict[str, list[str]] = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        option = key.split(".")[-1]
        if option in ("index-url", "extra-index-url", "find-links"):
            settings[option] = ast.literal_eval(value).split()
    return settings


def uv_options() -> list[str]:
    return [f"--{option}={value}" for option, values in pip_settings().items() for value in values]


def start(*command: str, requirements: str, **environment: str) -> subprocess.Popen[str]:
    uv = pytest.importorskip("uv", reason="uv is missing: pip install -r tests/requirements.txt")
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [uv.find_uv_bin(), "pip", "compile", "--quiet", *uv_options(), *command, "-"],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env={**os.environ, **environment},
    )
    process.stdin.write(requirements)
    process.stdin.close()
    process.stdin = None  # communicate() would flush it
    return process


@pytest.fixture(scope="module")
def resolutions() -> Iterator[dict[tuple[str, str], subprocess.Popen[str]]]:
    """All resolutions under way at once, as they mostly wait for the registry; skips where there is none."""
    probe = start("--no-deps", requirements="einops==0.8.2", UV_HTTP_TIMEOUT="10", UV_HTTP_RETRIES="0")
    error = probe.communicate(timeout=120)[1]
    if probe.returncode:
        pytest.skip(f"no package registry: {error.strip().splitlines()[-1]}")
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    wheels = ["--only-binary=:all:", "--no-binary=openai-whisper"]  # that one is pure Python without a wheel
    processes = {
        (python, system): start(
            "--index-strategy=unsafe-best-match",  # as pip does: the best version of all indexes
            f"--python-version={python}",
            f"--python-platform={system}",
            *wheels,
            requirements=requirements,
            MACOSX_DEPLOYMENT_TARGET="14.0",
        )
        for python in PYTHONS
        for system in SYSTEMS
    }
    yield processes
    for process in processes.values():
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_resolves_to_wheels(resolutions, python, system):
    output, error = resolutions[python, system].communicate(timeout=300)
    assert resolutions[python, system].returncode == 0, error
    resolved = read_pins(output)
    assert resolved["numpy"] == "1.26.4"
    assert ("decord" in resolved) == (system != "macos")


def test_every_requirement_is_pinned():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    loose = [line for line in lines if line and not line.startswith("#") and "==" not in line.split(";")[0]]
    assert [line.split(">")[0] for line in loose] == ["setuptools"]


def test_pins_that_belong_together():
    pins = read_pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert setup_env.OPTIONAL.items() <= read_pins((ROOT / "tests" / "requirements.txt").read_text()).items()
    assert all(name in pins for name in TORCH_FAMILY)
    assert pins["opencv-python"] == pins["opencv-contrib-python"]
    assert pins["torch"] == pins["torchaudio"]


def imported_names(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_every_import_is_declared():
    files = [file for name in OURS for file in (ROOT / name).rglob("*.py")] + list(ROOT.glob("*.py"))
    assert len(files) > 10
    pins = set(read_pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))) | {"setuptools"}
    known = OURS | OPTIONAL | set(sys.stdlib_module_names)
    undeclared = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in imported_names(file)
        if name not in known and DISTRIBUTIONS.get(name, name).lower() not in pins
    }
    assert not undeclared, "declare these in requirements.txt"


def test_setup_needs_the_standard_library_only():
    names = set(imported_names(ROOT / "scripts" / "setup_env.py"))
    assert names - set(sys.stdlib_module_names) == {
        "huggingface_hub"
    }  # imported where the environment runs it
