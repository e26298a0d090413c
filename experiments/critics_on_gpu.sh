#!/usr/bin/env bash
# The benchmark of actors and critics on one GPU, which several processes share. It stops after SECONDS, and resumes
# when it is called again with the same folder. The most expensive algorithms come first, so that no long run is left
# for the end.
#
#     experiments/critics_on_gpu.sh FOLDER SECONDS
#
# The variables ENVS, SEEDS, STEPS, EVAL_FREQ, EPISODES and JOBS change the grid; a test on a CPU is
#
#     ENVS=Pendulum-v1 SEEDS=1 STEPS=20 EVAL_FREQ=10 EPISODES=1 JOBS=2 experiments/critics_on_gpu.sh /tmp/tiny 300
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 FOLDER SECONDS"; exit 2; }
out=$1 seconds=$2
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD:$PWD/envs OMP_NUM_THREADS=1
python=${PYTHON:-python}

status=0
timeout --signal=INT --kill-after=60 "$seconds" "$python" -m ardae_rl benchmark \
    --envs "${ENVS:-Hopper-v5,HalfCheetah-v5}" \
    --algos sac_ardae,sac_ardae-crossq,sac_nf,sac_ardae-distance,sac,sac-crossq \
    --seeds "${SEEDS:-5}" --steps "${STEPS:-100000}" --eval-freq "${EVAL_FREQ:-5000}" \
    --eval-episodes "${EPISODES:-10}" --jobs "${JOBS:-12}" --out "$out" || status=$?
# 124: time is up, 130: interrupted. Everything up to the last evaluations is kept
[ $status -eq 0 ] || [ $status -eq 124 ] || [ $status -eq 130 ] || exit $status
if compgen -G "$out/*/*/finished.json" > /dev/null; then
    "$python" -m ardae_rl report "$out"
fi
