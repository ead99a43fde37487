"""Models beside what the process sets for all of torch and numpy, in threads, and when they are interrupted."""

import types
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes

from sb3_ppo_variants import TRPO, ClipPPO
from sb3_ppo_variants.backends import constrained
from tests.algorithms.models import make, parameters_of


@pytest.mark.parametrize("actions", ["discrete", "box"])
@pytest.mark.parametrize("algorithm", [ClipPPO, TRPO])
def test_another_default_device_changes_nothing(algorithm: type, actions: str) -> None:
    def trained(device: str | None) -> np.ndarray:
        model = make(algorithm, env={"actions": actions}, device="cpu", update_backend="closed_form").learn(64)
        th.set_default_device(device)  # "meta" stands for a GPU
        try:
            model.learn(64, reset_num_timesteps=False)
        finally:
            th.set_default_device(None)
        return parameters_of(model)

    np.testing.assert_array_equal(trained("meta"), trained(None))


def test_threads_leave_torchs_checks_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [make(ClipPPO, update_backend="autograd", seed=seed) for seed in range(2)]
    backends: list[Any] = [model._backend for model in models]
    assert th.distributions.Distribution._validate_args
    inside, leave = Barrier(2), Barrier(2)

    def first() -> None:
        with backends[0].context():
            inside.wait()
        leave.wait()

    def second() -> None:
        inside.wait()
        with backends[1].context():
            leave.wait()  # entered while the first was inside, left after it
            assert not th.distributions.Distribution._validate_args

    threads = [Thread(target=first), Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert th.distributions.Distribution._validate_args


def own_evaluation(policy: Any, observations: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Builds its distribution itself, and leaves none behind."""
    pi, vf = policy.mlp_extractor(policy.extract_features(observations))
    distribution = th.distributions.Normal(policy.action_net(pi), policy.log_std.exp())
    return policy.value_net(vf), distribution.log_prob(actions).sum(-1), distribution.entropy().sum(-1)


def test_a_penalty_holds_where_evaluate_actions_is_replaced_on_the_object() -> None:
    def trained(on_the_object: bool) -> Any:
        model = make(
            ClipPPO,
            update_backend="autograd",
            kl_coef=50.0,
            batch_size=16,
            measure_kl=True,
        )
        if on_the_object:
            model.policy.evaluate_actions = types.MethodType(own_evaluation, model.policy)
        else:
            model.policy.__class__ = type("Mine", (type(model.policy),), {"evaluate_actions": own_evaluation})
        return parameters_of(model.learn(64))

    np.testing.assert_array_equal(trained(True), trained(False))


@pytest.mark.parametrize("backend", ["closed_form", "autograd"])
def test_an_interrupted_line_search_keeps_no_step(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(TRPO, update_backend=backend).learn(64)
    before = parameters_of(model)

    def interrupted(accept: Any, *_: Any) -> Any:
        accept(1.0)
        assert not np.array_equal(parameters_of(model), before)
        raise KeyboardInterrupt

    monkeypatch.setattr(constrained, "line_search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.learn(64, reset_num_timesteps=False)
    np.testing.assert_array_equal(parameters_of(model), before)


@pytest.mark.parametrize(
    "given", [np.float32(0.25), np.array(0.25), th.tensor(0.25)], ids=lambda given: type(given).__name__
)
def test_numbers_of_numpy_and_torch_may_be_assigned(given: Any) -> None:
    def trained(rate: Any) -> np.ndarray:
        model = make(ClipPPO).learn(64)
        model.learning_rate = model.clip_range = model.ent_coef = rate
        return parameters_of(model.learn(64, reset_num_timesteps=False))

    np.testing.assert_array_equal(trained(given), trained(0.25))


@pytest.mark.parametrize("backend", ["closed_form", "compiled"])
def test_a_training_with_masks_that_ends_in_the_middle_underflows_quietly(backend: str) -> None:
    model = ClipPPO(
        "MlpPolicy", "sb3_ppo_variants/Maze-v0", n_steps=512, batch_size=64, use_masking=True, update_backend=backend
    )
    with np.errstate(all="raise"):
        model.learn(2048, callback=StopTrainingOnMaxEpisodes(1))
    assert 0 < model.num_timesteps < 512
