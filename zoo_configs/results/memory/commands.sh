#!/usr/bin/env bash
# The runs of this folder: memory, four stacked observations and one observation. Writes to runs/memory…; interrupted,
# it goes on where it stopped.
set -euo pipefail

algorithms="clip_ppo kl_penalty_ppo unclipped_ppo reinforce paper_trpo"
lstm='policy_kwargs={"lstm_hidden_size":64}'
plain=() memory=()
for name in $algorithms; do
  plain+=(--algo "$name")
  memory+=(--algo "memory_$name=$name" --set "memory_$name.policy=MlpLstmPolicy")
  memory+=(--set "memory_$name.sequence_length=16" --set "memory_$name.$lstm")
done
for name in clip_ppo kl_penalty_ppo unclipped_ppo; do
  plain+=(--set "$name.batch_size=256")
  memory+=(--set "memory_$name.batch_size=256")
done
memory+=(--algo contrib:recurrent_ppo --set contrib:recurrent_ppo.batch_size=256 --set "contrib:recurrent_ppo.$lstm")

run() { # OUT, then what is its own
  ppo-variants compare "${@:2}" --set n_steps=128 --set learning_rate=0.001 --n-envs 8 --seeds 5 --jobs 1 --out "$1"
}
of() { echo "sb3_ppo_variants/$1"; }
short=(--set gamma=0.98 --timesteps 40000) pendulum=(--set gamma=0.9 --timesteps 80000)

run runs/memory --env "$(of CartPoleNoVel-v1)" --env "$(of Recall-v0)" "${plain[@]}" "${memory[@]}" "${short[@]}"
run runs/memory-stacked --env "$(of CartPoleNoVelStack-v1)" --env "$(of RecallStack-v0)" "${plain[@]}" "${short[@]}"
run runs/memory-pendulum --env "$(of PendulumNoVel-v1)" "${plain[@]}" "${memory[@]}" "${pendulum[@]}"
run runs/memory-pendulum-stacked --env "$(of PendulumNoVelStack-v1)" "${plain[@]}" "${pendulum[@]}"

# The fast form beside sb3-contrib's RecurrentPPO: two of the first comparison's rows.
fast=(--algo memory_clip_ppo=clip_ppo --set memory_clip_ppo.policy=MlpLstmPolicy --set memory_clip_ppo.batch_size=256)
fast+=(--set memory_clip_ppo.sequence_length=16 --set "memory_clip_ppo.$lstm")
fast+=(--algo contrib:recurrent_ppo --set contrib:recurrent_ppo.batch_size=256 --set "contrib:recurrent_ppo.$lstm")
run runs/memory-fast-form --env "$(of CartPoleNoVel-v1)" "${fast[@]}" "${short[@]}" --import runs/memory
