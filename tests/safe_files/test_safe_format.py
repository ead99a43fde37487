"""Safe files: a model comes back as SB3's own save and load bring it back, without pickle."""

import copy
import json
import logging
import pickle
import shutil
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_variants import REINFORCE, TRPO, ClipPPO, KLPenaltyPPO, UnclippedPPO
from sb3_ppo_variants.algorithms import loading
from sb3_ppo_variants.experiments import evaluate, train
from sb3_ppo_variants.safe_files.format import read_safe
from sb3_ppo_variants.safe_files.schema import SafeFileError
from sb3_ppo_variants.safe_files.settings import attribute_of
from sb3_ppo_variants.safe_files.spaces import space_as_data, space_from_data
from tests.algorithms.models import ALGORITHMS, OwnBuffer, OwnPolicy, make, settings_for
from tests.parity.comparing import assert_same_log, assert_same_tensors, make_env

VARIANTS: list[tuple[type, str, dict[str, Any], dict[str, Any]]] = [
    *((algorithm, "MlpPolicy", {}, {}) for algorithm in ALGORITHMS),
    (ClipPPO, "MlpPolicy", {"actions": "discrete", "n_envs": 2}, {"policy_kwargs": {"net_arch": [16]}}),
    (ClipPPO, "MlpPolicy", {"actions": "multi_discrete"}, {"learning_rate_vf": 1e-3, "learning_rate": "lin_0.001"}),
    (ClipPPO, "MlpPolicy", {"observations": "discrete", "actions": "multi_binary"}, {"clip_range_vf": "lin_0.3"}),
    (ClipPPO, "MlpPolicy", {}, {"use_sde": True, "policy_kwargs": {"log_std_init": -1.0, "squash_output": True}}),
    (TRPO, "MultiInputPolicy", {"observations": "dict"}, {}),
    (ClipPPO, "BetaMlpPolicy", {}, {"policy_kwargs": {"deterministic_action": "mode"}}),
    (KLPenaltyPPO, "CnnPolicy", {"observations": "image", "actions": "discrete"}, {"seed": None}),
    (ClipPPO, "MlpPolicy", {"actions": "multi_binary", "allowed": 0.5, "n_envs": 2}, {"use_masking": True}),
    (TRPO, "MultiInputPolicy", {"observations": "dict", "actions": "discrete", "allowed": 0.5}, {"use_masking": True}),
    (
        UnclippedPPO,
        "MlpPolicy",
        {},
        {
            "policy_kwargs": {
                "activation_fn": th.nn.ELU,
                "net_arch": {"pi": [8], "vf": [16, 8]},
                "optimizer_class": th.optim.RMSprop,
                "optimizer_kwargs": {"alpha": 0.95},
            }
        },
    ),
]


def loaded_both_ways(model, path, env: dict[str, Any], **given) -> list[Any]:
    model.save_safe(path / "safe")
    model.save(path / "zip")
    return [
        type(model).load_safe(path / "safe", make_env(**env), **given),
        type(model).load(path / "zip", make_env(**env)),
    ]


@pytest.mark.parametrize("case", range(len(VARIANTS)), ids=lambda n: f"{n}-{VARIANTS[n][0].__name__}-{VARIANTS[n][1]}")
def test_goes_on_as_after_save_and_load(case, tmp_path) -> None:
    algorithm, policy, env, extra = VARIANTS[case]
    model = make(algorithm, policy, env, **({"n_steps": 32} | extra)).learn(64)
    safe, theirs = loaded_both_ways(model, tmp_path, env)
    assert_same_tensors(safe.get_parameters(), model.get_parameters(), "parameters")
    observation = model.env.reset()
    for deterministic in (True, False):
        actions = []
        for one in (safe, model):
            th.manual_seed(3)
            if one.use_sde:
                one.policy.reset_noise()  # drawn anew by a load
            masks = {"action_masks": get_action_masks(model.env)} if model.use_masking else {}
            actions.append(one.predict(observation, deterministic=deterministic, **masks)[0])
        np.testing.assert_array_equal(*actions)
    for one in (safe, theirs):
        th.manual_seed(7)
        np.random.seed(7)
        one.env.seed(7)
        one.learn(64, reset_num_timesteps=False)
    assert_same_tensors(safe.get_parameters(), theirs.get_parameters(), "after more training")
    assert_same_log(safe.logger.name_to_value, theirs.logger.name_to_value)
    assert (safe.num_timesteps, safe._n_updates) == (theirs.num_timesteps, theirs._n_updates)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_every_setting_comes_back(algorithm, tmp_path) -> None:
    model = make(algorithm, learning_rate=LinearSchedule(1e-3, 1e-4, 0.5), normalize_advantage="rollout", gamma=0.9)
    model.ent_coef = "lin_0.02"  # as a callback may
    loaded, _ = loaded_both_ways(model, tmp_path, {})
    for name in map(attribute_of, type(model).checks):
        ours, theirs = getattr(loaded, name), getattr(model, name)
        if name == "ent_coef" or callable(ours):
            assert [ours(p) for p in (1.0, 0.6, 0.0)] == [
                LinearSchedule(0.02, 0.0, 1.0)(p) if isinstance(theirs, str) else theirs(p) for p in (1.0, 0.6, 0.0)
            ], name
        else:
            assert ours == theirs, name
    assert loaded.tensorboard_log is None


def test_nothing_is_unpickled(tmp_path, monkeypatch) -> None:
    path = make(ClipPPO).learn(64).save_safe(tmp_path / "model")

    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    for module, name in ((pickle, "loads"), (pickle, "load"), (cloudpickle, "loads"), (th, "load")):
        monkeypatch.setattr(module, name, refuse)
    ClipPPO.load_safe(path).predict(np.zeros(4, np.float32))


def test_a_function_is_refused_and_can_be_given_again(tmp_path) -> None:
    model = make(ClipPPO, learning_rate=lambda progress: 1e-3 * progress)
    with pytest.raises(ValueError, match=r"^learning_rate: .* holds numbers and names but no code.*exclude="):
        model.save_safe(tmp_path / "model")
    model.save_safe(tmp_path / "model", exclude=["learning_rate"])
    with pytest.raises(ValueError, match=r"learning_rate was left out of the file: pass learning_rate="):
        ClipPPO.load_safe(tmp_path / "model")
    loaded = ClipPPO.load_safe(tmp_path / "model", learning_rate=lambda progress: 1e-3 * progress)
    assert loaded.lr_schedule(0.5) == 5e-4
    with pytest.raises(ValueError, match=r"has no setting 'learningrate'"):
        model.save_safe(tmp_path / "model", exclude=["learningrate"])


def test_classes_of_the_users_own_are_given_by_the_caller(tmp_path) -> None:
    model = ClipPPO(OwnPolicy, make_env(), **settings_for(ClipPPO, rollout_buffer_class=OwnBuffer)).learn(64)
    path = model.save_safe(tmp_path / "model")
    with pytest.raises(ValueError, match=r"rollout buffer is a OwnBuffer.*rollout_buffer_class="):
        ClipPPO.load_safe(path, policy_class=OwnPolicy)
    with pytest.raises(ValueError, match=r"'OwnPolicy', which no file brings: pass policy_class="):
        ClipPPO.load_safe(path, rollout_buffer_class=OwnBuffer)
    with pytest.raises(ValueError, match=r"policy's mlp_extractor.* has shape"):
        ClipPPO.load_safe(path, policy_class=ClipPPO.policy_aliases["MlpPolicy"], rollout_buffer_class=OwnBuffer)
    loaded = ClipPPO.load_safe(path, make_env(), policy_class=OwnPolicy, rollout_buffer_class=OwnBuffer)
    assert_same_tensors(loaded.get_parameters(), model.get_parameters(), "parameters")
    loaded.learn(64)
    assert isinstance(loaded.rollout_buffer, OwnBuffer)


class OwnActivation(th.nn.Tanh):
    """Code of the user's."""


def test_code_in_policy_kwargs_is_given_by_the_caller(tmp_path) -> None:
    kwargs = {"activation_fn": OwnActivation}
    model = make(ClipPPO, policy_kwargs=kwargs)
    with pytest.raises(ValueError, match=r"^policy_kwargs: .*OwnActivation.*exclude="):
        model.save_safe(tmp_path / "model")
    model.save_safe(tmp_path / "model", exclude=["policy_kwargs"])
    with pytest.raises(ValueError, match=r"policy_kwargs was left out"):
        ClipPPO.load_safe(tmp_path / "model")
    loaded = ClipPPO.load_safe(tmp_path / "model", policy_kwargs=kwargs)
    assert isinstance(loaded.policy.mlp_extractor.policy_net[1], OwnActivation)


def test_other_policy_kwargs_than_the_files_are_refused(tmp_path) -> None:
    kwargs = {"net_arch": [8], "activation_fn": th.nn.ReLU}
    make(ClipPPO, policy_kwargs=kwargs).save_safe(tmp_path / "model")
    for other in ({"net_arch": [8]}, {"net_arch": [8], "activation_fn": OwnActivation}, None):
        with pytest.raises(SafeFileError, match=r"policy_kwargs=.*the file's policy was made with .*'ReLU'"):
            ClipPPO.load_safe(tmp_path / "model", policy_kwargs=other)
    assert ClipPPO.load_safe(tmp_path / "model", policy_kwargs=kwargs).policy.activation_fn is th.nn.ReLU


@pytest.mark.parametrize("name", ["policy_kwargs", "rollout_buffer_kwargs"])
def test_none_means_no_further_arguments(name, tmp_path) -> None:
    for loaded in loaded_both_ways(make(ClipPPO), tmp_path, {}, **{name: None}):
        loaded.learn(64)
    ClipPPO.load(tmp_path / "zip", make_env(), **{name: None}).learn(64)


def test_a_smaller_window_of_episodes(tmp_path) -> None:
    model = make(ClipPPO, env={"actions": "discrete"}).learn(512)
    assert len(model.ep_info_buffer) > 5
    for loaded in loaded_both_ways(model, tmp_path, {"actions": "discrete"}, stats_window_size=5):
        loaded.learn(128, reset_num_timesteps=False)
    smaller = ClipPPO.load(tmp_path / "zip", make_env(actions="discrete"), stats_window_size=5)
    assert list(smaller.ep_info_buffer) == list(model.ep_info_buffer)[-5:]
    smaller.learn(128, reset_num_timesteps=False)
    again = ClipPPO.load_safe(smaller.save_safe(tmp_path / "again"))
    assert list(again.ep_info_buffer) == list(smaller.ep_info_buffer)
    assert len(again.ep_info_buffer) == 5
    # The window may also be assigned.
    smaller.ep_info_buffer = model.ep_info_buffer
    smaller._stats_window_size = 3
    assert len(ClipPPO.load_safe(smaller.save_safe(tmp_path / "again")).ep_info_buffer) == 3


def test_a_window_of_episodes_that_was_left_out(tmp_path) -> None:
    model = make(ClipPPO, env={"actions": "discrete", "n_envs": 4}, stats_window_size=500).learn(2048)
    assert len(model.ep_info_buffer) > 100
    file = model.save_safe(tmp_path / "model", exclude=["stats_window_size"])
    assert len(ClipPPO.load_safe(file, stats_window_size=500).ep_info_buffer) == len(model.ep_info_buffer)


def test_the_same_policy_kwargs_are_taken_though_sb3_has_added_to_them(tmp_path) -> None:
    given = {"normalize_images": False, "features_extractor_kwargs": {"features_dim": 8}}
    model = make(ClipPPO, "CnnPolicy", {"observations": "image"}, policy_kwargs=copy.deepcopy(given))
    file = model.save_safe(tmp_path / "model")
    assert model.policy_kwargs != given
    assert ClipPPO.load_safe(file, policy_kwargs=given).policy.features_extractor.features_dim == 8


class CountingAdam(th.optim.Adam):
    """Keeps how many steps it has made in its parameter groups."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for group in self.param_groups:
            group.setdefault("n_made", 0)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["n_made"] += 1
        return super().step(closure)


def test_what_an_optimizer_keeps_in_its_groups_is_kept(tmp_path) -> None:
    kwargs = {"optimizer_class": CountingAdam}
    model = make(ClipPPO, policy_kwargs=kwargs).learn(64)
    file = model.save_safe(tmp_path / "model", exclude=["policy_kwargs"])
    loaded = ClipPPO.load_safe(file, policy_kwargs=kwargs)
    assert loaded.policy.optimizer.param_groups[0]["n_made"] == model.policy.optimizer.param_groups[0]["n_made"] > 0


class Stop(BaseCallback):
    def _on_step(self) -> bool:
        return self.num_timesteps < 100


def test_a_training_without_end_and_a_scheduler_of_torchs(tmp_path) -> None:
    model = make(ClipPPO)
    th.optim.lr_scheduler.ExponentialLR(model.policy.optimizer, 0.99)
    model.learn(float("inf"), Stop())
    for loaded in loaded_both_ways(model, tmp_path, {}):
        assert loaded.num_timesteps == model.num_timesteps
        loaded.learn(64)


@pytest.mark.parametrize("loader", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_another_class_takes_over_what_load_takes_over(loader, tmp_path) -> None:
    model = make(KLPenaltyPPO, gamma=0.9, ent_coef=0.2, adaptive_kl_target=1e-9).learn(64)
    model.save_safe(tmp_path / "safe")
    model.save(tmp_path / "zip")
    safe, theirs = loader.load_safe(tmp_path / "safe"), loader.load(tmp_path / "zip")
    for name in map(attribute_of, loader.checks):
        if not callable(getattr(theirs, name)):
            assert getattr(safe, name) == getattr(theirs, name), name


def test_a_subclass_of_the_users_keeps_its_own_settings(tmp_path) -> None:
    class Mine(ClipPPO):
        def __init__(self, policy, env, *, my_argument=1, **kwargs):
            self.my_argument = my_argument
            super().__init__(policy, env, **kwargs)

    path = Mine("MlpPolicy", make_env(), my_argument=[2, "x"], n_steps=64).save_safe(tmp_path / "model")
    assert Mine.load_safe(path).my_argument == [2, "x"]
    with pytest.raises(ValueError, match=r"settings \(of Mine\) has 'my_argument'"):
        ClipPPO.load_safe(path)


class Fixed(ClipPPO):
    """A user's class whose constructor fixes arguments instead of taking them."""

    def __init__(self, policy, env, device="cpu", _init_setup_model=True):
        fixed = {"n_steps": 64, "batch_size": 32, "n_epochs": 1, "seed": 1}
        super().__init__(policy, env, **fixed, device=device, _init_setup_model=_init_setup_model)


def test_a_subclass_with_a_constructor_of_its_own_is_saved_and_loaded_whole(tmp_path) -> None:
    model = Fixed("MlpPolicy", make_env()).learn(64)
    model.save(tmp_path / "zip")
    model.save_safe(tmp_path / "safe")
    for cls in (Fixed, ClipPPO):
        safe, theirs = cls.load_safe(tmp_path / "safe", gamma=0.9), cls.load(tmp_path / "zip", gamma=0.9)
        assert (safe.gamma, safe.n_steps, safe.batch_size) == (theirs.gamma, theirs.n_steps, theirs.batch_size)
        assert (safe.gamma, safe.n_steps) == (0.9, 64)
        assert_same_tensors(safe.get_parameters(), theirs.get_parameters(), cls.__name__)
    PPO("MlpPolicy", make_env(), n_steps=16, gamma=0.5, batch_size=16).save(tmp_path / "sb3")
    of_sb3 = Fixed.load(tmp_path / "sb3")
    assert (of_sb3.gamma, of_sb3.n_steps) == (0.5, 16)
    with pytest.raises(TypeError, match="did you mean 'clip_range'"):
        Fixed.load_safe(tmp_path / "safe", clip_rnage=0.1)


class WithBonus(ClipPPO):
    """A user's class with an argument of its own."""

    def __init__(self, policy, env, bonus=0.5, **kwargs):
        self.bonus = bonus
        super().__init__(policy, env, **kwargs)


class FixedBonus(WithBonus):
    """Fixes the argument of the class above."""

    def __init__(self, policy, env, device="cpu", _init_setup_model=True):
        super().__init__(policy, env, 0.9, n_steps=64, device=device, _init_setup_model=_init_setup_model)


def test_arguments_of_all_classes_in_between_are_kept(tmp_path) -> None:
    model = FixedBonus("MlpPolicy", make_env())
    model.bonus = 0.7
    path = model.save_safe(tmp_path / "model")
    assert FixedBonus.load_safe(path).bonus == 0.7


def test_what_a_subclass_keeps_beside_the_policy_is_not_dropped_unsaid(tmp_path) -> None:
    class WithTarget(ClipPPO):
        def _setup_model(self):
            super()._setup_model()
            self.target = th.nn.Linear(1, 1)

        def _get_torch_save_params(self):
            names, variables = super()._get_torch_save_params()
            return [*names, "target"], variables

    class WithNumber(ClipPPO):
        def _setup_model(self):
            super()._setup_model()
            self.number = th.zeros(1)

        def _get_torch_save_params(self):
            names, variables = super()._get_torch_save_params()
            return names, [*variables, "number"]

    with pytest.raises(ValueError, match=r"WithNumber also keeps number"):
        make(WithNumber).save_safe(tmp_path / "model")
    with pytest.raises(ValueError, match=r"WithTarget also keeps target \(_get_torch_save_params\).*: use save\(\)"):
        make(WithTarget).save_safe(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_arguments_given_to_load_win_and_are_checked(tmp_path) -> None:
    path = make(ClipPPO).save_safe(tmp_path / "model")
    loaded = ClipPPO.load_safe(path, clip_range=0.1, n_steps=32, tensorboard_log=str(tmp_path), stats_window_size=7)
    assert (loaded.clip_range(1.0), loaded.n_steps, loaded._stats_window_size) == (0.1, 32, 7)
    with pytest.raises(ValueError, match=r"^clip_range=-1 is out of range"):
        ClipPPO.load_safe(path, clip_range=-1)
    with pytest.raises(TypeError, match="did you mean 'clip_range'"):
        ClipPPO.load_safe(path, clip_rnage=0.1)
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        ClipPPO.load_safe(path, make_env("discrete"))


def test_double_precision_is_kept(tmp_path) -> None:
    model = make(ClipPPO)
    model.policy.double()
    model.learn(64)
    loaded = ClipPPO.load_safe(model.save_safe(tmp_path / "model"))
    assert_same_tensors(loaded.get_parameters(), model.get_parameters(), "parameters")


def test_a_learning_rate_of_zero_is_kept(tmp_path) -> None:
    model = make(ClipPPO)
    model.learning_rate = 0.0
    assert ClipPPO.load_safe(model.save_safe(tmp_path / "model")).learning_rate == 0.0


@pytest.mark.parametrize("where", ["parameter", "moment"])
def test_a_model_that_is_not_finite_is_not_written(where, tmp_path) -> None:
    model = make(ClipPPO).learn(64)
    path = model.save_safe(tmp_path / "model")
    before = path.read_bytes()
    with th.no_grad():
        if where == "parameter":
            model.policy.log_std[0] = np.nan
        else:
            model.policy.optimizer.state[model.policy.log_std]["exp_avg"][0] = np.inf
    with pytest.raises(ValueError, match="is not finite: such a model can neither act nor learn"):
        model.save_safe(path)
    assert path.read_bytes() == before


def test_files_are_the_same_byte_for_byte_and_readable_by_others(tmp_path) -> None:
    model = make(ClipPPO).learn(64)
    first, second = (model.save_safe(tmp_path / name) for name in ("a", "b.safetensors"))
    assert first.name == "a.safetensors"
    assert first.read_bytes() == second.read_bytes()
    document, tensors = read_safe(first)
    assert document["settings"]["gamma"] == 0.99
    assert th.equal(tensors["log_std"], model.policy.log_std)
    # The header of a safetensors file: its length, then JSON.
    contents = first.read_bytes()
    header = json.loads(contents[8 : 8 + int.from_bytes(contents[:8], "little")])
    assert json.loads(header["__metadata__"]["sb3_ppo_variants"])["algorithm"] == "ClipPPO"


def test_a_save_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch) -> None:
    model = make(ClipPPO)
    path = model.save_safe(tmp_path / "model")
    before = path.read_bytes()

    def half(self, contents):
        with self.open("wb") as file:
            file.write(contents[: len(contents) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        model.save_safe(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_missing_file_is_a_missing_file(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        ClipPPO.load_safe(tmp_path / "model")


def test_loading_a_zip_says_once_that_it_runs_code(tmp_path, caplog) -> None:
    make(ClipPPO).save(tmp_path / "zip")
    path = make(ClipPPO).save_safe(tmp_path / "safe")
    loading._say_that_zips_run_code.cache_clear()
    with caplog.at_level(logging.WARNING, "sb3_ppo_variants"):
        ClipPPO.load_safe(path)
        assert caplog.records == []
        for _ in range(2):
            ClipPPO.load(tmp_path / "zip")
    assert len(caplog.records) == 1
    assert "can run code: load only files that you trust" in caplog.text


def test_that_is_not_said_of_a_missing_file_or_by_commands_that_say_it_themselves(tmp_path, caplog) -> None:
    run = train("clip_ppo", timesteps=64, settings={"n_steps": 64, "n_epochs": 1}, out=tmp_path / "run").out
    shutil.copy(run / "model.zip", tmp_path / "lone.zip")
    loading._say_that_zips_run_code.cache_clear()
    with caplog.at_level(logging.WARNING, "sb3_ppo_variants"):
        with pytest.raises(FileNotFoundError):
            ClipPPO.load(tmp_path / "nowhere")
        evaluate(run, episodes=1)
        evaluate(tmp_path / "lone.zip", "CartPole-v1", "clip_ppo", episodes=1)
        assert caplog.records == []
        # A folder from elsewhere may look like a run's.
        ClipPPO.load(shutil.copytree(run, tmp_path / "from elsewhere") / "model")
    assert len(caplog.records) == 1


FLOATS = {"float16": 16, "float32": 32, "float64": 64}


@st.composite
def boxes(draw) -> spaces.Box:
    dtype = np.dtype(draw(st.sampled_from([*FLOATS, "bool", "int8", "int32", "int64", "uint8", "uint64"])))
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    if dtype.kind == "f":
        numbers = st.floats(width=FLOATS[dtype.name], allow_nan=False)
    elif dtype.kind == "b":
        numbers = st.booleans()
    else:
        limits = np.iinfo(dtype)
        numbers = st.integers(int(limits.min), int(limits.max))
    size = int(np.prod(shape))
    one, other = (np.array(draw(st.lists(numbers, min_size=size, max_size=size)), dtype).reshape(shape) for _ in "ab")
    return spaces.Box(np.asarray(np.minimum(one, other)), np.asarray(np.maximum(one, other)), shape, dtype.type)


SIMPLE = st.one_of(
    boxes(),
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-5, 5)),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 5), min_size=1, max_size=3)),
    st.builds(spaces.MultiBinary, st.one_of(st.integers(1, 5), st.lists(st.integers(1, 3), min_size=1, max_size=2))),
)


@given(st.one_of(SIMPLE, st.dictionaries(st.text(min_size=1, max_size=5), SIMPLE, min_size=1, max_size=3)))
def test_spaces_come_back_equal(space) -> None:
    if isinstance(space, dict):
        space = spaces.Dict(space)
    data = json.loads(json.dumps(space_as_data(space)))
    back = space_from_data(data, "space")
    assert back == space
    assert back.dtype == space.dtype


class Parts(gym.Env):
    action_space = spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, space: spaces.Dict) -> None:
        self.observation_space = space

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}


def test_the_parts_of_a_dict_keep_their_order(tmp_path) -> None:
    space = spaces.Dict([(key, spaces.Box(-1, 1, (n,))) for key, n in (("velocity", 2), ("goal", 2))])
    env = DummyVecEnv([lambda: Parts(space)])
    model = ClipPPO("MultiInputPolicy", env, n_steps=8, batch_size=8, seed=0)
    path = model.save_safe(tmp_path / "model")
    observation = {"velocity": np.array([0.1, -0.2], np.float32), "goal": np.array([0.7, 0.4], np.float32)}
    expected = model.predict(observation, deterministic=True)[0]
    for arguments in ({}, {"env": env}):
        loaded = ClipPPO.load_safe(path, **arguments)
        np.testing.assert_array_equal(loaded.predict(observation, deterministic=True)[0], expected)


@pytest.mark.parametrize("keys", [["a"], ["a", "c"], ["a", 1], ["a", "b", "b"], "ab"])
def test_an_order_of_other_parts_is_refused(keys) -> None:
    data = space_as_data(spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(3)}))
    with pytest.raises(SafeFileError, match="space"):
        space_from_data({**data, "keys": keys}, "space")


def test_an_infinite_setting_is_refused_with_what_means_the_same(tmp_path) -> None:
    model = make(ClipPPO, max_grad_norm=np.inf)
    with pytest.raises(ValueError, match=r"max_grad_norm: inf cannot be written .* None for max_grad_norm"):
        model.save_safe(tmp_path / "model")
    model.max_grad_norm = None
    assert ClipPPO.load_safe(model.save_safe(tmp_path / "model")).max_grad_norm is None


@pytest.mark.parametrize("space", [spaces.Text(5), spaces.Tuple([spaces.Discrete(2)])])
def test_other_spaces_are_refused(space) -> None:
    with pytest.raises(ValueError, match=r"space cannot be written to a safe file.*Use save\(\)"):
        space_as_data(space)


@pytest.mark.parametrize("with_env", [True, False])
def test_reinforce_without_an_environment_predicts(with_env, tmp_path) -> None:
    path = make(REINFORCE, baseline=False).save_safe(tmp_path / "model")
    loaded = REINFORCE.load_safe(path, make_env() if with_env else None)
    assert loaded.baseline is False
    assert loaded.predict(np.zeros(4, np.float32), deterministic=True)[0].shape == (2,)
