#!/usr/bin/env bash
# From nothing to masks: sets up, makes the embedded data, trains the small default model a little further, scores it on
# held-out videos, writes the submission zip and draws what it sees. Run again, it goes on where it was;
# `rm -r runs/quickstart` starts the training anew.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh

export HF_HUB_OFFLINE=1
# Training on a CPU makes and frees large tensors all the time; keeping the memory saves a tenth of the time.
export MALLOC_MMAP_THRESHOLD_=2000000000 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=100000000
python=.venv/bin/python
run=${RUN:-runs/quickstart}
data=${DATA:-data/synth}

say() { printf '\n== %s\n' "$*"; }

# train OUTPUT ARGUMENTS...: trains, goes on with an interrupted run, and leaves a finished one as it is.
train() {
  local output=$1
  shift
  if [ -f "$output/finished" ]; then
    echo "$output is trained already"
    return
  fi
  $python scripts/train.py "$@" output="$output" resume=true
  touch "$output/finished"
}

say "1/5 the embedded data: $data"
$python tools/make_synthetic.py root="$data" train=800 valid_u=60 valid=20 images=600 ${QUICKSTART_DATA:-}

say "2/5 training goes on from checkpoints/default.safetensors (1.5 minutes)"
train "$run/video" experiment=quickstart data.root="$data" ${QUICKSTART_TRAINING:-}

say "3/5 masks for the held-out videos, and the submission zip"
$python scripts/infer.py experiment=synthetic data.root="$data" checkpoint="$run/video" output="$run/valid_u" submission=false
$python scripts/infer.py experiment=synthetic data.root="$data" checkpoint="$run/video" output="$run/valid" split=valid

say "4/5 scores on the held-out videos"
$python scripts/evaluate.py experiment=synthetic data.root="$data" predictions="$run/valid_u/predictions" output="$run/valid_u/scores"

say "5/5 the demo on a video file"
$python tools/frames_to_video.py "$data/valid_u/JPEGImages/valid_u_00000" "$run/video.mp4" 8
$python scripts/demo.py input="$run/video.mp4" checkpoint="$run/video" output="$run/demo" \
  'text=["the object on the left", "the moving object"]'

cat << END

What was made:
  $run/video/                      the trained model, its curves (tensorboard --logdir $run)
  $run/valid_u/predictions/        a mask for every held-out video, sentence and frame
  $run/valid_u/scores/scores.md    the table above, also as JSON and CSV
  $run/valid/synthetic_valid.zip   the submission, checked
  $run/demo/video_overlay.mp4      the overlay

The same video, other words:  .venv/bin/python scripts/demo.py input=$run/video.mp4 'text=["the red circle"]'
This model knows coloured shapes and nothing else. Your own video needs real weights: README.md, "Real weights"
END
