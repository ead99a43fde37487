"""ClipPPO with masks and ``ent_coef=0.0`` is sb3-contrib's MaskablePPO, bit for bit."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from sb3_ppo_variants import TRPO, ClipPPO
from tests.environments import MaskedWalk
from tests.parity.comparing import assert_same_log, assert_same_tensors, make_env

SETTINGS: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "seed": 5, "ent_coef": 0.0}
N_UPDATES = 2
OURS: dict[str, Any] = {"use_masking": True, "update_backend": "autograd"}


def masked_env(stacked: bool = False, **env: Any) -> VecEnv:
    made = make_env(**{"actions": "discrete", "allowed": 0.5} | env)
    return VecFrameStack(made, 2) if stacked else made


def assert_same(ours: ClipPPO, theirs: MaskablePPO) -> None:
    assert_same_tensors(ours.get_parameters(), theirs.get_parameters(), "parameters")
    assert_same_log(ours.logger.name_to_value, theirs.logger.name_to_value)
    assert ours.num_timesteps == theirs.num_timesteps
    assert ours._n_updates == theirs._n_updates
    np.testing.assert_array_equal(ours.rollout_buffer.action_masks, theirs.rollout_buffer.action_masks)


def train_both(
    policy: str = "MlpPolicy", env: dict[str, Any] | None = None, learn: dict[str, Any] | None = None, **settings: Any
) -> tuple[ClipPPO, MaskablePPO]:
    settings = SETTINGS | settings
    models = []
    for algorithm, extra in ((ClipPPO, OURS), (MaskablePPO, {})):
        with warnings.catch_warnings():
            # Ours says that the last minibatch is short.
            warnings.filterwarnings("ignore", message=".*mini-?batch.*")
            model: Any = algorithm(policy, masked_env(**env or {}), **settings, **extra)
        models.append(model.learn(N_UPDATES * settings["n_steps"] * model.n_envs, **learn or {}))
    return models[0], models[1]


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "discrete": ("MlpPolicy", {}, {}),
    "multi_discrete": ("MlpPolicy", {"actions": "multi_discrete"}, {}),
    "multi_binary": ("MlpPolicy", {"actions": "multi_binary"}, {}),
    "discrete observations": ("MlpPolicy", {"observations": "discrete", "n_envs": 2}, {}),
    "dict": ("MultiInputPolicy", {"observations": "dict", "actions": "multi_discrete"}, {}),
    "image": ("CnnPolicy", {"observations": "image"}, {"n_steps": 16, "batch_size": 16}),
    "vec normalize": ("MlpPolicy", {"normalize": True, "n_envs": 2}, {}),
    "frame stack": ("MlpPolicy", {"stacked": True}, {}),
    "several envs": ("MlpPolicy", {"n_envs": 3, "actions": "multi_binary"}, {}),
    "value clipping": ("MlpPolicy", {}, {"clip_range_vf": 0.05}),
    "target_kl": ("MlpPolicy", {}, {"target_kl": 1e-4, "learning_rate": 1e-2, "n_epochs": 4}),
    "schedules": (
        "MlpPolicy",
        {"actions": "multi_discrete"},
        {
            "learning_rate": LinearSchedule(1e-3, 1e-5, 1.0),
            "clip_range": lambda progress: 0.1 + 0.2 * progress,
            "clip_range_vf": lambda progress: 0.1 * progress + 0.01,
        },
    ),
    "entropy bonus on both": ("MlpPolicy", {"actions": "multi_binary"}, {"ent_coef": 0.01}),
    "short last minibatch": ("MlpPolicy", {}, {"batch_size": 24, "vf_coef": 0.3}),
    "whole batch": ("MlpPolicy", {}, {"batch_size": None, "normalize_advantage": False}),
    "separate extractors": ("MlpPolicy", {}, {"policy_kwargs": {"share_features_extractor": False}}),
    "other networks": ("MlpPolicy", {}, {"policy_kwargs": {"net_arch": [16], "activation_fn": th.nn.ReLU}}),
}


@pytest.mark.parametrize("case", CASES)
def test_bit_for_bit(case: str) -> None:
    policy, env, settings = CASES[case]
    assert_same(*train_both(policy, env, **settings))


def test_target_kl_case_does_stop_early() -> None:
    policy, env, settings = CASES["target_kl"]
    ours, _ = train_both(policy, env, **settings)
    assert ours._n_updates < N_UPDATES * settings["n_epochs"]


def test_without_asking_for_masks() -> None:
    ours, theirs = train_both(env={"actions": "multi_discrete"}, learn={"use_masking": False})
    assert_same(ours, theirs)
    assert ours.rollout_buffer.action_masks.all()
    assert sum(ours.get_env().get_attr("n_invalid")) > 0


class ActionMasksSeen(BaseCallback):
    """Notes the masks and actions of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []

    def _on_step(self) -> bool:
        self.seen += [self.locals["action_masks"].copy(), self.locals["actions"].copy()]
        return True


def test_callbacks_are_given_the_masks() -> None:
    seen = []
    for algorithm, extra in ((ClipPPO, OURS), (MaskablePPO, {}), (ClipPPO, {"use_masking": True})):
        callback = ActionMasksSeen()
        algorithm("MlpPolicy", masked_env(n_envs=2), **SETTINGS, **extra).learn(64, callback)
        seen.append(np.hstack([array.ravel() for array in callback.seen]))
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[2], seen[1])


# ---- Files ----


def test_save_load_continue(tmp_path) -> None:
    continued = []
    for model, algorithm in zip(train_both(), (ClipPPO, MaskablePPO), strict=True):
        model.save(tmp_path / algorithm.__name__)
        loaded = algorithm.load(tmp_path / algorithm.__name__, env=masked_env())
        continued.append(loaded.learn(64, reset_num_timesteps=False))
    assert_same(*continued)


@pytest.mark.parametrize("actions", ["discrete", "multi_binary"])
def test_its_zips_load_and_go_on_alike(actions: str, tmp_path) -> None:
    _, theirs = train_both(env={"actions": actions})
    theirs.save(tmp_path / "theirs")
    ours = ClipPPO.load(tmp_path / "theirs", env=masked_env(actions=actions), update_backend="autograd")
    assert ours.use_masking
    assert (ours.ent_coef, ours.use_sde) == (0.0, False)
    assert_same(ours.learn(64), MaskablePPO.load(tmp_path / "theirs", env=masked_env(actions=actions)).learn(64))


def test_it_loads_our_zips_and_goes_on_alike(tmp_path) -> None:
    ours, _ = train_both()
    ours.save(tmp_path / "ours")
    theirs = MaskablePPO.load(tmp_path / "ours", env=masked_env()).learn(64)
    assert_same(ClipPPO.load(tmp_path / "ours", env=masked_env()).learn(64), theirs)


def test_parameters_go_both_ways() -> None:
    ours, theirs = train_both()
    other = ClipPPO("MlpPolicy", masked_env(), use_masking=True)
    other.set_parameters(theirs.get_parameters())
    assert_same_tensors(other.get_parameters(), ours.get_parameters(), "parameters")
    theirs.set_parameters(other.get_parameters())


# ---- Evaluation ----


@pytest.mark.parametrize("algorithm", [ClipPPO, TRPO])
def test_its_evaluation_takes_our_models(algorithm: type, tmp_path) -> None:
    evaluated = masked_env(n_envs=2)
    callback = MaskableEvalCallback(evaluated, eval_freq=16, n_eval_episodes=2, verbose=0, log_path=str(tmp_path))
    model = algorithm("MlpPolicy", masked_env(), use_masking=True, n_steps=32, batch_size=32).learn(64, callback)
    assert len(callback.evaluations_timesteps) == 4
    evaluate_policy(model, evaluated, n_eval_episodes=4, deterministic=False)
    alone = MaskedWalk()
    evaluate_policy(model, alone, n_eval_episodes=2, deterministic=False, warn=False)
    assert [*evaluated.get_attr("n_invalid"), alone.n_invalid, *model.get_env().get_attr("n_invalid")] == [0, 0, 0, 0]


def test_it_evaluates_both_alike() -> None:
    ours, theirs = train_both()
    returns = []
    for model in (ours, theirs):
        env = masked_env()
        env.seed(3)
        returns.append(evaluate_policy(model, env, n_eval_episodes=3, return_episode_rewards=True))
    assert returns[0] == returns[1]


# ---- All-true masks ----


@pytest.mark.parametrize("actions", ["discrete", "multi_discrete"])
@pytest.mark.parametrize("update_backend", ["autograd", "closed_form"])
def test_masks_that_allow_everything_change_nothing_but_rounding(actions: str, update_backend: str) -> None:
    """MultiBinary actions have two logits per bit there, and so other networks."""
    masked, unmasked = (
        ClipPPO(
            "MlpPolicy", make_env(actions=actions, allowed=1.0), **SETTINGS,
            use_masking=use_masking, update_backend=update_backend,
        ).learn(N_UPDATES * 32)
        for use_masking in (True, False)
    )  # fmt: skip
    for one, other in zip(masked.policy.parameters(), unmasked.policy.parameters(), strict=True):
        th.testing.assert_close(one, other, rtol=0, atol=1e-6)
