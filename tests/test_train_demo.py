"""The script that trains the demo model: which stages it runs. What they do is tested where their commands are."""

import os
import re
import subprocess
from pathlib import Path

from latentsync import REPO_ROOT

SCRIPT = REPO_ROOT / "scripts/train_demo.sh"
RESULTS = {
    "clips": "clips",
    "audio": "whisper.pt",
    "vae": "vae/config.json",
    **{stage: f"{stage}.pt" for stage in ("syncnet", "unet1", "unet2", "judge")},
}


def train(cache: Path, *stages: str) -> subprocess.CompletedProcess:
    command = ["bash", str(SCRIPT), *stages]
    environment = os.environ | {"LATENTSYNC_CACHE": str(cache)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_stage_that_does_not_exist_is_told_before_any_work(tmp_path):
    done = train(tmp_path, "clips", "vea")
    assert done.returncode == 2
    assert "no stage vea" in done.stderr and all(stage in done.stderr for stage in RESULTS)
    assert not any(tmp_path.iterdir())


def test_stages_whose_results_are_there_are_skipped(tmp_path):
    folder = tmp_path / "a folder"
    for result in RESULTS.values():
        path = folder / "demo/model" / result
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    done = train(folder, *RESULTS)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\w+): finished before", done.stdout, re.MULTILINE) == list(RESULTS)


def test_the_configurations_it_names_exist():
    named = set(re.findall(r"train \w+ (\w+/demo\w*)", SCRIPT.read_text()))
    assert named >= {"audio/demo", "vae/demo", "syncnet/demo"}
    assert all((REPO_ROOT / f"configs/{name}.yaml").is_file() for name in named)
