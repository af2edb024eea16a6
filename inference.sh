#!/usr/bin/env bash
# bash inference.sh [VIDEO AUDIO [OUT]] [options]: sets up what is missing, then runs scripts.inference.
# Paths are relative to the current directory; --help lists the options.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$(bash "$root/scripts/bootstrap.sh" --quick)
exec "$python" "$root/scripts/launch.py" scripts.inference --enable_deepcache "$@"
