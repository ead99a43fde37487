"""ClipPPO with a policy with memory and ``ent_coef=0.0`` is sb3-contrib's RecurrentPPO, bit for bit."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO
from tests.parity.comparing import assert_same_log, assert_same_tensors, make_env

SMALL: dict[str, Any] = {"lstm_hidden_size": 8, "net_arch": [8]}
SETTINGS: dict[str, Any] = {"n_steps": 20, "batch_size": 15, "n_epochs": 2, "seed": 5, "ent_coef": 0.0}
STATES = ("hidden_states_pi", "cell_states_pi", "hidden_states_vf", "cell_states_vf")
N_UPDATES = 2


def make(algorithm: type, policy: str = "MlpLstmPolicy", env: dict[str, Any] | None = None, **settings: Any) -> Any:
    settings = SETTINGS | settings
    settings["policy_kwargs"] = SMALL | settings.get("policy_kwargs", {})
    with warnings.catch_warnings():
        # Ours says that the last minibatch is short.
        warnings.filterwarnings("ignore", message=".*mini-?batch.*")
        return algorithm(policy, make_env(**env or {}), **settings)


def assert_same(ours: Any, theirs: Any) -> None:
    assert_same_tensors(ours.get_parameters(), theirs.get_parameters(), "parameters")
    assert_same_log(ours.logger.name_to_value, theirs.logger.name_to_value)
    assert ours.num_timesteps == theirs.num_timesteps
    assert ours._n_updates == theirs._n_updates
    assert_same_tensors(ours._last_lstm_states, theirs._last_lstm_states, "states")
    for name in STATES:
        np.testing.assert_array_equal(getattr(ours.rollout_buffer, name), getattr(theirs.rollout_buffer, name))


def train_both(policy: str = "MlpLstmPolicy", env: dict[str, Any] | None = None, **settings: Any) -> tuple[Any, Any]:
    models = []
    for algorithm in (ClipPPO, RecurrentPPO):
        # Each at once: making a model seeds the generators.
        model = make(algorithm, policy, env, **copy.deepcopy(settings))
        models.append(model.learn(N_UPDATES * model.n_steps * model.n_envs))
    return models[0], models[1]


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "box": ("MlpLstmPolicy", {}, {}),
    "discrete, several envs": ("MlpLstmPolicy", {"actions": "discrete", "n_envs": 3}, {}),
    "multi_discrete": ("MlpLstmPolicy", {"actions": "multi_discrete"}, {}),
    "discrete observations": ("MlpLstmPolicy", {"observations": "discrete", "n_envs": 2}, {}),
    "dict": ("MultiInputLstmPolicy", {"observations": "dict", "actions": "discrete", "n_envs": 2}, {}),
    "image": ("CnnLstmPolicy", {"observations": "image", "actions": "discrete"}, {"n_steps": 16, "batch_size": 16}),
    "vec normalize": ("MlpLstmPolicy", {"normalize": True, "n_envs": 2}, {}),
    "no critic LSTM": ("MlpLstmPolicy", {"n_envs": 2}, {"policy_kwargs": {"enable_critic_lstm": False}}),
    "shared LSTM": (
        "MlpLstmPolicy",
        {"n_envs": 2},
        {"policy_kwargs": {"shared_lstm": True, "enable_critic_lstm": False}},
    ),
    "separate extractors, two layers": (
        "MlpLstmPolicy",
        {"n_envs": 2},
        {"policy_kwargs": {"share_features_extractor": False, "n_lstm_layers": 2}},
    ),
    "dropout": (
        "MlpLstmPolicy",
        {},
        {"policy_kwargs": {"lstm_kwargs": {"dropout": 0.3, "bias": False}, "n_lstm_layers": 2}},
    ),
    "gSDE": ("MlpLstmPolicy", {}, {"use_sde": True, "sde_sample_freq": 4, "policy_kwargs": {"log_std_init": -1.0}}),
    "value clipping": ("MlpLstmPolicy", {}, {"clip_range_vf": 0.05, "vf_coef": 0.3}),
    "target_kl": ("MlpLstmPolicy", {}, {"target_kl": 1e-4, "learning_rate": 1e-2, "n_epochs": 4}),
    "schedules": (
        "MlpLstmPolicy",
        {},
        {
            "learning_rate": LinearSchedule(1e-3, 1e-5, 1.0),
            "clip_range": lambda progress: 0.1 + 0.2 * progress,
            "clip_range_vf": lambda progress: 0.1 * progress + 0.01,
        },
    ),
    "whole batch, entropy bonus": (
        "MlpLstmPolicy",
        {"actions": "discrete"},
        {"batch_size": None, "normalize_advantage": False, "ent_coef": 0.01},
    ),
}


@pytest.fixture(scope="module")
def trained() -> tuple[Any, Any]:
    """Not to be trained further."""
    return train_both()


@pytest.mark.parametrize("case", CASES)
def test_bit_for_bit(case: str) -> None:
    policy, env, settings = CASES[case]
    assert_same(*train_both(policy, env, **settings))


def test_the_cases_do_what_they_say() -> None:
    """Sequences begin within minibatches, episodes are truncated, and the update stops early."""
    policy, env, settings = CASES["target_kl"]
    ours, _ = train_both(policy, env, **settings)
    assert ours._n_updates < N_UPDATES * settings["n_epochs"]
    starts = ours.rollout_buffer.episode_starts.ravel()
    assert 1 <= starts[1:].sum() < len(starts)
    assert any(info["l"] == 17 for info in ours.ep_info_buffer)


class Locals(BaseCallback):
    """Notes the states after each step."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.seen: list[th.Tensor] = []
        self.stop_at = stop_at

    def _on_step(self) -> bool:
        self.seen += [part.clone() for of in self.locals["lstm_states"] for part in of]
        return self.num_timesteps != self.stop_at


def test_callbacks_are_given_the_states() -> None:
    seen = []
    for algorithm in (ClipPPO, RecurrentPPO):
        callback = Locals()
        make(algorithm, env={"n_envs": 2}).learn(40, callback)
        seen.append(callback.seen)
    assert len(seen[0]) == 20 * 4
    assert_same_tensors(*seen, "states")


@pytest.mark.parametrize("reset", [True, False])
def test_a_stop_within_a_rollout(reset: bool) -> None:
    models = []
    for algorithm in (ClipPPO, RecurrentPPO):
        model = make(algorithm)
        model.learn(48, Locals(stop_at=26))
        models.append(model.learn(24, reset_num_timesteps=reset))
    assert_same(*models)


# ---- Files ----


@pytest.mark.parametrize("case", ["vec normalize", "shared LSTM"])
def test_save_load_continue(case: str, tmp_path) -> None:
    policy, env, settings = CASES[case]
    continued = []
    for model, algorithm in zip(train_both(policy, env, **settings), (ClipPPO, RecurrentPPO), strict=True):
        model.save(tmp_path / algorithm.__name__)
        loaded = algorithm.load(tmp_path / algorithm.__name__, env=make_env(**env))
        continued.append(loaded.learn(24, reset_num_timesteps=False))
    assert_same(*continued)


def test_its_zips_load_and_go_on_alike(trained, tmp_path) -> None:
    _, theirs = trained
    theirs.save(tmp_path / "theirs")
    ours = ClipPPO.load(tmp_path / "theirs", env=make_env(n_envs=2))
    assert (ours.sequence_length, ours.use_masking, ours.ent_coef) == (None, False, 0.0)
    assert_same(ours.learn(48), RecurrentPPO.load(tmp_path / "theirs", env=make_env(n_envs=2)).learn(48))


@pytest.mark.parametrize("algorithm", [KLPenaltyPPO, REINFORCE, TRPO])
def test_other_classes_load_its_zips(algorithm: type, trained, tmp_path) -> None:
    _, theirs = trained
    theirs.save(tmp_path / "theirs")
    ours = algorithm.load(tmp_path / "theirs", env=make_env())
    assert_same_tensors(ours.get_parameters()["policy"], theirs.get_parameters()["policy"], "parameters")
    ours.learn(24)


def test_it_loads_our_zips_and_goes_on_alike(trained, tmp_path) -> None:
    ours, _ = trained
    ours.save(tmp_path / "ours")
    theirs = RecurrentPPO.load(tmp_path / "ours", env=make_env()).learn(24)
    assert_same(ClipPPO.load(tmp_path / "ours", env=make_env()).learn(24), theirs)


def test_parameters_go_both_ways(trained) -> None:
    ours, theirs = trained
    other = make(ClipPPO)
    other.set_parameters(theirs.get_parameters())
    assert_same_tensors(other.get_parameters(), ours.get_parameters(), "parameters")
    make(RecurrentPPO).set_parameters(other.get_parameters())


# ---- A buffer of a user's own, which draws by sb3-contrib's code ----


class OwnBuffer(RecurrentRolloutBuffer):
    """As sb3-contrib's, to whose ``get`` it leaves the drawing."""


def test_a_buffer_that_draws_and_pads_itself_gives_the_same() -> None:
    theirs = make(RecurrentPPO, env={"n_envs": 2}).learn(96)
    assert_same(make(ClipPPO, env={"n_envs": 2}, rollout_buffer_class=OwnBuffer).learn(96), theirs)


@pytest.mark.parametrize(
    ("algorithm", "settings"), [(KLPenaltyPPO, {"kl_coef": 0.5, "batch_size": 24}), (REINFORCE, {"baseline": False})]
)
def test_its_rows_are_known_by_number(algorithm: type, settings: dict[str, Any]) -> None:
    """The exact KL, and REINFORCE's finished episodes, are those of the buffer whose rows are drawn here."""
    settings |= {"n_steps": 24, "seed": 5, "measure_kl": True, "policy_kwargs": SMALL}
    models = [
        algorithm("MlpLstmPolicy", make_env(n_envs=2), rollout_buffer_class=kind, **settings).learn(96)
        for kind in (OwnBuffer, None)
    ]
    # Unfinished episodes are padding to the network here and not there: sums round differently.
    for one, other in zip(*(model.policy.parameters() for model in models), strict=True):
        th.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    logs = [model.logger.name_to_value["train/kl"] for model in models]
    assert logs[0] == pytest.approx(logs[1], rel=1e-3)


# ---- Acting ----


def test_both_are_evaluated_alike(trained) -> None:
    returns = []
    for model in trained:
        env = make_env(n_envs=2)
        env.seed(3)
        returns.append(evaluate_policy(model, env, n_eval_episodes=3, return_episode_rewards=True))
    assert returns[0] == returns[1]


def test_predictions_depend_on_state_and_episode_start(trained) -> None:
    ours, theirs = trained
    observations = make_env(n_envs=2).reset()
    state, start, of_first = None, np.array([True, True]), []
    for step in range(4):
        predicted = [m.predict(observations, state, start, deterministic=True) for m in (ours, theirs)]
        np.testing.assert_array_equal(predicted[0][0], predicted[1][0])
        of_first.append(predicted[0][0][0])
        state, start = predicted[0][1], np.array([step == 2, False])
    assert not np.array_equal(of_first[0], of_first[1])
    np.testing.assert_array_equal(of_first[0], of_first[3])
