#!/usr/bin/env bash
# The studies of this folder, by TPE and by random search, and TPE's winners in longer runs. Writes to folders of
# runs/tuning/; interrupted, it goes on where it stopped.
set -euo pipefail

environments=()
for name in CartPole-v1 Acrobot-v1 Pendulum-v1 InvertedPendulum-v5 HalfCheetah-v5; do environments+=(--env "$name"); done

for algorithm in clip_ppo kl_penalty_ppo; do
  ppo-variants tune --algo "$algorithm" "${environments[@]}" --trials 40 --timesteps 40960 --seeds 3 --jobs 2 \
    --out "runs/tuning/$algorithm-tpe" --zoo-configs zoo_configs
done

for algorithm in clip_ppo kl_penalty_ppo; do
  ppo-variants tune --algo "$algorithm" "${environments[@]}" --trials 40 --timesteps 40960 --seeds 3 --jobs 2 \
    --sampler random --out "runs/tuning/$algorithm-random"
done

python zoo_configs/results/tuning/longer.py
