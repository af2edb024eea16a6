#!/usr/bin/env bash
# bash eval/eval_syncnet_acc.sh [options] [section.key=value ...]: how often a SyncNet is right; --help lists options.
# Its default is configs/syncnet/syncnet_16_pixel_attn.yaml; data.val_data_dir=FOLDER names the clips.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(bash "$root/scripts/bootstrap.sh" --quick --no-checkpoints)
exec "$python" "$root/scripts/launch.py" eval.eval_syncnet_acc "$@"
