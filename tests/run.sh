#!/usr/bin/env bash
# Sets up what is missing, lints, and runs the tests; arguments go to pytest.
# There is a process of tests for each processor; `-n 0` runs them in one, as debugging wants it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
python=$(bash scripts/bootstrap.sh --quick --tests --no-checkpoints) || exit
status=0
"$python" -m ruff check || status=$?
"$python" -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder "$@" || status=$?
exit "$status"
