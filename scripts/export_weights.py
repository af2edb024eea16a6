"""Write the last weights of a U-Net's or a SyncNet's run as they are shipped: in half precision, without what only
training needs.

python -m scripts.export_weights debug/syncnet/train-2026_11_22-10-00-00 --out checkpoints/demo/syncnet.pt
"""

import sys
from pathlib import Path

from latentsync.checkpoint import load_state, save_checkpoint
from latentsync.errors import CheckpointError, LatentSyncError
from latentsync.train.state import last_checkpoint
from scripts.parser import Parser


def export(run: Path, out: Path) -> Path:
    """The run's last checkpoint in the released format, float16; returns `out`. Raises LatentSyncError."""
    checkpoint = load_state(last_checkpoint(run))
    state = {key: value.half() if value.is_floating_point() else value for key, value in checkpoint.state.items()}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(out, state, global_step=checkpoint.step)
    except OSError as error:
        raise CheckpointError(f"{out} cannot be written ({error.strerror}); choose another file") from error
    return out


def main() -> int:
    parser = Parser(prog="export_weights", description="Write a run's last weights in half precision.")
    parser.add_argument("run_dir", type=Path, help="folder of a run of train_unet or train_syncnet")
    parser.add_argument("--out", type=Path, required=True, help="file to write, such as checkpoints/demo/syncnet.pt")
    args = parser.parse_args()
    try:
        out = export(args.run_dir, args.out)
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
