"""The command line that the two training commands share."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from latentsync import dist
from latentsync.config import load_config
from latentsync.errors import LatentSyncError
from scripts.parser import Parser


def training_command(
    name: str, description: str, flag: str, default: Path, schema: type, run: Callable[..., Path]
) -> int:
    """Parse the command line, call `run(cfg, run_dir=..., device=...)` and print the folder it returns.

    `flag` names the configuration's file, `default` is the one without it, `schema` what it has to be. Returns the exit
    status: 2 where the input is at fault.
    """
    parser = Parser(prog=name, description=description)
    add = parser.add_argument
    add(flag, dest="config_path", type=Path, default=default, help="configuration (%(default)s)")
    add("--run_dir", type=Path, help="output folder (default: a new one); a run that was stopped there goes on")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    add("overrides", nargs="*", metavar="section.key=value", help="values instead of the configuration's")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO if dist.launched_first() else logging.ERROR, format="%(message)s")
    try:
        cfg = load_config(schema, args.config_path, args.overrides)
        folder = run(cfg, run_dir=args.run_dir, device=args.device)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if dist.launched_first():
        print(folder)
    return 0
