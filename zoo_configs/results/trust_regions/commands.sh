#!/usr/bin/env bash
# The runs of this folder: the ten variants of the preset that have SB3's network, in its five environments; and those of
# deep/: the three with a deep policy network. Writes to folders of runs/; interrupted, it goes on where it stopped.
set -euo pipefail

variants=()
for name in clip_0.2 no_clipping adaptive_kl_0.01 fixed_kl_1 trpo soft_clip_0.2 rollback_0.3 spo discovered scopic; do
  variants+=(--algo "$name")
done
ppo-variants compare --preset trust_regions "${variants[@]}" --jobs 2 --out runs/trust_regions

ppo-variants compare --preset trust_regions --algo clip_0.2_deep --algo rollback_0.3_deep --algo spo_deep --jobs 2 \
  --out runs/trust_regions-deep
