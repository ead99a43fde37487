#!/usr/bin/env bash
# The runs of this folder: Beta and clipped normal distributions over bounded actions. Writes to runs/beta…; interrupted,
# it goes on where it stopped.
set -euo pipefail

variants=()
for name in clip_ppo kl_penalty_ppo; do
  variants+=(--algo "gaussian_$name=$name" --algo "beta_$name=$name" --set "beta_$name.policy=BetaMlpPolicy")
done

# The best actions lie at the bounds.
ppo-variants compare --env sb3_ppo_variants/Corners-v0 "${variants[@]}" --set ent_coef=0.0 --seeds 10 \
  --timesteps 50000 --jobs 1 --out runs/beta-corners

ppo-variants compare --env HalfCheetah-v5 --env Hopper-v5 --env Walker2d-v5 "${variants[@]:0:6}" --set ent_coef=0.0 \
  --seeds 5 --timesteps 200000 --jobs 1 --out runs/beta
