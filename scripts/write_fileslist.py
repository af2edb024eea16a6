"""Write the list of clips that a training's configuration names.

python -m scripts.write_fileslist --fileslist data/train.txt data/crops data/more
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from latentsync.data.clips import mp4_files
from latentsync.errors import ConfigError, LatentSyncError
from latentsync.files import atomic_path
from scripts.parser import Parser


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="write_fileslist",
        description="Write the list of the .mp4 files of some folders and their subfolders, one path per line.",
    )
    p.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folder of clips")
    p.add_argument("--fileslist", type=Path, required=True, metavar="OUT.txt", help="the list, replaced if it is there")
    p.add_argument("--relative", action="store_true", help="paths relative to the list, so that both can be moved")
    return p


def write_fileslist(fileslist: Path, folders: Sequence[Path], *, relative: bool = False) -> int:
    """Write the list, each file once; returns how many. Raises ConfigError."""
    files = dict.fromkeys(path for folder in folders for path in mp4_files(folder))
    try:
        names = [Path(os.path.relpath(path, fileslist.parent)) if relative else path for path in files]
        with atomic_path(fileslist) as temporary:
            temporary.write_text("".join(f"{name.as_posix()}\n" for name in names), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{fileslist} cannot be written ({error.strerror}); choose another place") from error
    return len(files)


def cli(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        n_files = write_fileslist(args.fileslist, args.folders, relative=args.relative)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.fileslist}: {n_files} clips")
    return 0


if __name__ == "__main__":
    sys.exit(cli())
