#!/usr/bin/env bash
# torchrun.sh PORT MODULE [options]: the module once for each GPU ($GPUS of them), or alone where there is at most one.
set -euo pipefail
port=$1 module=$2
shift 2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(bash "$root/scripts/bootstrap.sh" --quick --no-checkpoints)
# The loader's processes share the processors with the network's threads: those that wait must not keep one busy.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
gpus=${GPUS:-$("$python" -c 'import torch; print(torch.cuda.device_count())')}
if [ "$gpus" -le 1 ]; then
    exec "$python" "$root/scripts/launch.py" "$module" "$@"
fi
exec "$python" -m torch.distributed.run --nnodes 1 --nproc_per_node "$gpus" --master_port "$port" \
    "$root/scripts/launch.py" "$module" "$@"
