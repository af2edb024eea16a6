#!/usr/bin/env bash
# Sets up everything: `bash setup_env.sh`, or `source setup_env.sh` to have the environment activated as well.
# `bash setup_env.sh --help` lists the options.

_latentsync_setup() {  # how ("sourced" or "executed"), this file, options
    local how=$1 script=$2 python
    shift 2
    python=$(bash "$(dirname "$script")/scripts/bootstrap.sh" "$@") || return
    local folder=${python%/*}
    if [ ! -f "$folder/../pyvenv.cfg" ] || [ "${folder%/*}" = "${VIRTUAL_ENV:-}" ]; then
        return 0  # nothing to activate, or active already
    elif [ "$how" = sourced ]; then
        . "$folder/activate"
    else
        echo "To activate the environment: source '$folder/activate'"
    fi
}

if [ -n "${ZSH_VERSION:-}" ]; then
    case $ZSH_EVAL_CONTEXT in
        *:file*) _latentsync_setup sourced "${(%):-%x}" "$@" ;;
        *) _latentsync_setup executed "$0" "$@" ;;
    esac
elif [ "${BASH_SOURCE[0]}" != "$0" ]; then
    _latentsync_setup sourced "${BASH_SOURCE[0]}" "$@"
else
    _latentsync_setup executed "$0" "$@"
fi
