#!/usr/bin/env bash
# bash train_vae.sh [--config_path FILE] [--run_dir FOLDER] [section.key=value ...]: all GPUs of this machine, else the CPU.
# GPUS=2 chooses how many; --help lists the options. A run that was stopped goes on with --run_dir FOLDER.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$root/scripts/torchrun.sh" 25680 scripts.train_vae "$@"
