"""The command line parser of the commands that people type."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a flag in one line, as with everything else."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")
