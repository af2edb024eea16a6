#!/usr/bin/env bash
# bash scripts/train_demo.sh [STAGE ...]: trains the model of checkpoints/demo from nothing, on all GPUs or the CPU.
# Stages, all of them in this order where none is named: clips audio vae syncnet unet1 unet2 judge install.
# Everything lies in $LATENTSYNC_CACHE/demo (default: ~/.cache/latentsync/demo). What is finished is skipped and what was
# stopped goes on. A stage is finished when its result is in the folder model/ there: copy results of an earlier training
# into it to start from them. How long each trains is in configs/*/demo*.yaml.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=${LATENTSYNC_CACHE:-$HOME/.cache/latentsync}/demo
model=$work/model

result() { # stage: what it leaves in model/; fails where there is no such stage
    case $1 in
        clips) echo clips ;;
        audio) echo whisper.pt ;;
        vae) echo vae/config.json ;;
        syncnet | unet1 | unet2 | judge) echo "$1.pt" ;;
        install) echo install ;; # which is never there: it is done each time
        *) return 1 ;;
    esac
}

[ $# -gt 0 ] || set -- clips audio vae syncnet unet1 unet2 judge install
for stage in "$@"; do
    if ! result "$stage" >/dev/null; then
        echo "error: no stage $stage; expected some of: clips audio vae syncnet unet1 unet2 judge install" >&2
        exit 2
    fi
done
python=$(bash "$root/scripts/bootstrap.sh" --quick --no-checkpoints)
mkdir -p "$model" "$work/runs"

# 43 timbres to learn from, 4 to be judged by.
voices=f1,f2,f3,f4,f5,Alicia,Annie,aunty,belinda,linda,m1,m2,m3,m4,m6,m7,Alex,Mario,david,edward,Andrea,anika,grandma,zac
voices+=,Nguyen,Denis,Hugo,Lee,Marco,Michael,Mike,adam,antonio,ian,klatt,kaukovalta,m5,miguel,norbert,pablo,travis,victor
voices+=,croak
unseen_voices=shelby,steph,quincy,robert

run() { "$python" "$root/scripts/launch.py" "$@"; }
heads() { # folder, options: clips of drawn people, in pairs of the same pictures with two mouths
    local folder=$1
    shift
    run scripts.make_talking_heads --out "$work/$folder" --aligned 256 --counterfactual --seconds 3 5 "$@"
}
train() { # command, configuration, stage, options
    local command=$1 config=$2 stage=$3 flag=--config_path
    shift 3
    [ "$command" != unet ] || flag=--unet_config_path
    bash "$root/train_$command.sh" "$flag" "$root/configs/$config.yaml" --run_dir "$work/runs/$stage" \
        "data.train_data_dir=$work/${clips:-train}" "data.val_data_dir=$work/held_out" "$@"
}
weights() { run scripts.export_weights "$work/runs/$1" --out "$model/$2"; } # stage, file

stage_clips() {
    heads train --count "${CLIPS:-300}" --seed 1 --identities 0 100000 --sentences 0 100000 --variants "$voices"
    heads held_out --count 24 --seed 2 --identities 100000 110000 --sentences 100000 110000 --variants "$unseen_voices"
    : >"$model/clips"
}
stage_audio() {
    train audio audio/demo audio
    cp "$work/runs/audio/whisper.pt" "$model/whisper.pt"
}
stage_vae() {
    train vae vae/demo vae
    run scripts.export_vae "$work/runs/vae" --out "$model/vae"
}
stage_syncnet() {
    train syncnet syncnet/demo syncnet
    weights syncnet syncnet.pt
}
unet() { # configuration, stage, options
    train unet "unet/$1" "$2" "ckpt.whisper_path=$model/whisper.pt" "ckpt.vae_path=$model/vae" "${@:3}"
    weights "$2" "$2.pt"
}
stage_unet1() { unet demo_stage1 unet1; }
stage_unet2() {
    unet demo unet2 "ckpt.resume_ckpt_path=$model/unet1.pt"
}
stage_judge() { # a second SyncNet, of other people and another seed, that never is a loss
    heads judge --count "${CLIPS:-300}" --seed 5 --identities 0 100000 --sentences 0 100000 --variants "$voices"
    clips=judge train syncnet syncnet/demo judge run.seed=5 run.max_train_steps=800
    weights judge judge.pt
}
stage_install() {
    local target=$root/checkpoints/demo
    mkdir -p "$target/vae"
    cp "$model/vae/"* "$target/vae/"
    cp "$model/whisper.pt" "$model/syncnet.pt" "$model/judge.pt" "$target/"
    cp "$model/unet2.pt" "$target/latentsync_unet.pt"
}

for stage in "$@"; do
    if [ -e "$model/$(result "$stage")" ]; then
        echo "$stage: finished before ($model/$(result "$stage"))"
    else
        echo "$stage: $(date '+%F %T')"
        "stage_$stage"
    fi
done
