"""Who may import whom, and what an import may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Packages from the ground up; a module imports from lower rows, and from its own row only where ALLOWED says so.
LAYERS = [
    {"types", "errors", "files", "options", ""},
    {"config", "schema", "workers"},
    {"media", "face", "whisper", "models", "diffusion", "checkpoint", "dist", "processing"},
    {"data", "losses", "metrics", "pipelines", "synthetic"},
    {"train"},
    {"build"},
    {"build_metrics"},
    {"judges"},
    {"service"},
]
ALLOWED = {
    ("config", "schema"),
    ("schema", "config"),
    # Public signatures take paths: Audio2Feature(model_path).audio2feat(audio_path), UNet....from_pretrained.
    ("whisper", "checkpoint"),
    ("whisper", "media"),
    ("models", "checkpoint"),
    ("diffusion", "models"),
    ("synthetic", "metrics"),  # drawn people are measured as any are
    ("data", "synthetic"),  # the truth of drawn people
}
APPLICATIONS = {"scripts", "preprocess", "eval", "gradio_app"}


def imported(path: Path) -> set[str]:
    """Dotted names of everything a file imports, relative imports resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def part(name: str) -> str | None:
    """The part of the library that a dotted name lies in; None for other packages."""
    pieces = name.split(".")
    if pieces[0] != "latentsync":
        return None
    known = set().union(*LAYERS)
    return pieces[1] if len(pieces) > 1 and pieces[1] in known else ""


def layer(name: str) -> int:
    return next(i for i, row in enumerate(LAYERS) if name in row)


LIBRARY = sorted((ROOT / "latentsync").rglob("*.py"))


@pytest.mark.parametrize("path", LIBRARY, ids=[str(p.relative_to(ROOT)) for p in LIBRARY])
def test_library_imports_point_downwards(path):
    own = part(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    for name in imported(path):
        assert name.split(".")[0] not in APPLICATIONS, f"{path} imports the application {name}"
        other = part(name)
        if other is None or other == own:
            continue
        assert layer(other) < layer(own) or (own, other) in ALLOWED, f"{own} imports {other}"


def test_inference_never_imports_decord():
    code = "import sys, scripts.inference; sys.exit('decord' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_library_imports_from_any_folder(tmp_path):
    code = "import latentsync.build as b; assert b.SCHEDULER_CONFIG.is_file() and b.build_scheduler()"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
