"""What can be said of the Dockerfile without building it."""

import json
import re
import shlex

import pytest

import gradio_app
from latentsync import REPO_ROOT
from scripts import setup_env

SENT = [line[1:] for line in (REPO_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]


def instructions() -> list[tuple[str, str]]:
    """Names and arguments, continued lines joined."""
    text = (REPO_ROOT / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def values(name: str) -> list[str]:
    return [value for found, value in instructions() if found == name]


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    return dict(value.split("=") for value in values("ARG"))


def test_what_is_copied_is_here_and_sent_to_the_builder():
    for name in SENT:
        assert (REPO_ROOT / name).exists(), name
    for value in values("COPY"):
        *sources, _ = value.split()
        for source in sources:
            assert (REPO_ROOT / source).exists(), source
            assert source == "." or any(f"{source}/".startswith(f"{name}/") for name in SENT), source


def test_all_that_the_environment_is_made_from_comes_before_it():
    *_, last = [i for i, (_, value) in enumerate(instructions()) if "setup_env.sh --" in value]
    before = " ".join(value for name, value in instructions()[:last] if name == "COPY")
    for name in ("requirements.txt", "pyproject.toml", "setup_env.sh", "scripts/bootstrap.sh", "scripts/setup_env.py"):
        assert name in before


def test_the_flags_of_the_set_up_exist(variables):
    (line,) = [value for value in values("RUN") if "setup_env.sh" in value]
    line = line.split("setup_env.sh", 1)[1].replace('"$TORCH"', variables["TORCH"])
    flags = setup_env.parse(shlex.split(line))
    assert flags.no_checkpoints and flags.torch.startswith("cu")


def test_what_opencv_needs_is_installed():
    installed = " ".join(value for value in values("RUN") if "apt-get" in value).split()
    assert {*setup_env.APT_PACKAGES, "python3.12", "python3.12-venv"} <= set(installed)


def test_it_runs_as_nobody_special():
    user = values("USER")[-1]
    assert user.isdecimal() and int(user) > 0
    assert f"useradd --uid {user} " in " ".join(values("RUN"))


def test_its_health_is_asked_for_where_it_listens():
    (check,) = values("HEALTHCHECK")
    program, flag, code = json.loads(check.split("CMD ")[1])
    assert flag == "-c" and "/v2/health" in code and f", {values('EXPOSE')[0]}, " in code
    assert program == json.loads(values("ENTRYPOINT")[0])[0] == f"{values('WORKDIR')[0]}/.venv/bin/python"
    compile(code, "HEALTHCHECK", "exec")


def test_the_flags_of_the_server_exist():
    _, script, *arguments = json.loads(values("ENTRYPOINT")[0])
    assert script == "gradio_app.py"
    assert gradio_app.parse(arguments).host == "0.0.0.0"


def test_data_and_weights_are_in_volumes():
    arguments = json.loads(values("ENTRYPOINT")[0])
    folders = json.loads(values("VOLUME")[0])
    assert folders == [f"{values('WORKDIR')[0]}/{setup_env.CHECKPOINTS.name}", arguments[arguments.index("--data") + 1]]
