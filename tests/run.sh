#!/usr/bin/env bash
# Sets up what is missing, lints, and runs the tests; arguments go to pytest.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
python=$(bash scripts/bootstrap.sh --quick --tests --no-checkpoints) || exit
status=0
"$python" -m ruff check || status=$?
"$python" -m pytest "$@" || status=$?
exit "$status"
