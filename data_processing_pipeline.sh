#!/usr/bin/env bash
# bash data_processing_pipeline.sh --input_dir FOLDER [options]: from raw videos to clips to train on; --help lists them.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$(bash "$root/scripts/bootstrap.sh" --quick --no-checkpoints)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # there is one process for each processor
exec "$python" "$root/scripts/launch.py" preprocess.data_processing_pipeline "$@"
