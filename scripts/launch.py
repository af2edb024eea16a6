"""Run a module of this checkout, whatever the current directory holds: `launch.py scripts.inference ...`.

`python -m` would look in the current directory first, and another checkout there has a `scripts` as well.
"""

import os
import runpy
import sys
from pathlib import Path

root = str(Path(__file__).resolve().parents[1])
sys.path[0] = root
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
sys.argv[:2] = sys.argv[1:2]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except KeyboardInterrupt:  # while the packages load, which takes seconds
    sys.exit(130)
