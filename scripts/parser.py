"""The command line parser of the commands that people type."""

import argparse
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a flag in one line, as with everything else."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


def training_parser(name: str, description: str, flag: str, config: Path) -> Parser:
    """What the training commands have in common; `flag` names the configuration, `config` is its default."""
    parser = Parser(prog=name, description=description)
    add = parser.add_argument
    add(flag, dest="config_path", type=Path, default=config, help="configuration (%(default)s)")
    add("--run_dir", type=Path, help="output folder (default: a new one); a run that was stopped there goes on")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    add("overrides", nargs="*", metavar="section.key=value", help="values instead of the configuration's")
    return parser
