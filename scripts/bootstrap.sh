#!/usr/bin/env bash
# Finds a Python to run setup_env.py with, and prints the environment's Python on stdout.
for python in python3.12 python3.11 python3.10 python3 python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
        exec "$python" "$(dirname "${BASH_SOURCE[0]}")/setup_env.py" --print-python "$@"
    fi
done
echo "error: Python 3.10, 3.11 or 3.12 is needed: install one from https://www.python.org/downloads/" >&2
exit 1
