#!/usr/bin/env bash
# The runs of this folder: ClipPPO with fixed learning rates and with rates that follow the KL. Writes to
# runs/learning-rate…; interrupted, it goes on where it stopped.
set -euo pipefail

environments=()
for name in CartPole-v1 Acrobot-v1 Pendulum-v1 InvertedPendulum-v5 HalfCheetah-v5; do environments+=(--env "$name"); done

compare() { # OUT, then the rates, of which the first is the reference
  local out=$1 rates=()
  for rate in "${@:2}"; do rates+=(--algo "rate_$rate=clip_ppo" --set "rate_$rate.learning_rate=$rate"); done
  ppo-variants compare "${environments[@]}" "${rates[@]}" "${seeds[@]}" --timesteps 50000 --jobs 1 --out "$out"
}

# Which fixed rate, and which target?
seeds=(--seeds 3)
compare runs/learning-rate 3e-4 1e-4 1e-3 3e-3 1e-2 kl_0.003 kl_0.01 kl_0.03

# The best fixed rate, the best target and the default, on seeds that the choice has not seen.
seeds=()
for seed in {100..109}; do seeds+=(--seed "$seed"); done
compare runs/learning-rate-confirm 3e-3 kl_0.01 3e-4
