"""The project's own environment, for commands that are started by any Python. Standard library only."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path


def enter(needed: str) -> None:
    """Go on in the project's environment, made where it is missing, unless the package `needed` is here already."""
    if find_spec(needed) is not None:
        return
    setup = [sys.executable, str(Path(__file__).with_name("setup_env.py")), "--print-python", "--quick"]
    done = subprocess.run(setup, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    python = os.fsdecode(done.stdout).strip()
    command = [python, *sys.argv]
    if os.name == "posix":
        os.execv(python, command)
    sys.exit(subprocess.call(command))
