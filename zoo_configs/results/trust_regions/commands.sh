#!/usr/bin/env bash
# The runs of this folder: ten of the thirteen variants of the preset, in three of its five environments; and those of
# kl/: the clip and the penalties in the other two; and of ant/: the ten variants in one of these. The rest is not run
# yet. Writes to folders of runs/; interrupted, it goes on where it stopped.
set -euo pipefail

variants=()
for name in clip_0.2 no_clipping adaptive_kl_0.01 fixed_kl_1 trpo soft_clip_0.2 rollback_0.3 spo discovered scopic; do
  variants+=(--algo "$name")
done
ppo-variants compare --preset trust_regions --env HalfCheetah-v5 --env Hopper-v5 --env Walker2d-v5 "${variants[@]}" \
  --import zoo_configs/results/table1 --jobs 2 --out runs/trust_regions

ppo-variants compare --preset trust_regions --env Ant-v5 --env Humanoid-v5 --algo clip_0.2 --algo adaptive_kl_0.01 \
  --algo fixed_kl_1 --jobs 2 --out runs/trust_regions-kl

ppo-variants compare --preset trust_regions --env Ant-v5 "${variants[@]}" --import runs/trust_regions-kl --jobs 2 \
  --out runs/trust_regions-ant
