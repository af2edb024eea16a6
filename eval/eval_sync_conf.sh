#!/usr/bin/env bash
# bash eval/eval_sync_conf.sh [options]: how well lips go with the sound; without options, of video_out.mp4.
# Paths are relative to the current directory; --help lists the options.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(bash "$root/scripts/bootstrap.sh" --quick --no-checkpoints)
[ $# -gt 0 ] || set -- --video_path video_out.mp4
exec "$python" "$root/scripts/launch.py" eval.eval_sync_conf "$@"
