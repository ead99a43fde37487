"""Constructor arguments: what is refused and how, what is visible, and that SB3's order is kept."""

import inspect
import linecache
import math
import pydoc
import re
from typing import Any, get_args

import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_variants import (
    REINFORCE,
    SPO,
    TRPO,
    ClipPPO,
    DiscoveredPPO,
    KLPenaltyPPO,
    RollbackPPO,
    ScopicPPO,
    UnclippedPPO,
    defaults,
)
from sb3_ppo_variants.algorithms.base import OnPolicyVariant
from sb3_ppo_variants.algorithms.hints import _ELSEWHERE, _OF_POLICIES, _OTHERWISE
from tests.algorithms.models import FAMILY
from tests.environments import RandomWalk
from tests.parity.comparing import make_env

BAD: list[tuple[type, dict[str, Any], type[Exception]]] = [
    # Silently accepted by SB3.
    (ClipPPO, {"clip_range": -0.2}, ValueError),
    (ClipPPO, {"clip_range": 0}, ValueError),
    (ClipPPO, {"clip_range": math.nan}, ValueError),
    (ClipPPO, {"gamma": 2}, ValueError),
    (ClipPPO, {"gamma": -1}, ValueError),
    (ClipPPO, {"gae_lambda": 1.5}, ValueError),
    (ClipPPO, {"ent_coef": -1}, ValueError),
    (ClipPPO, {"target_kl": -1}, ValueError),
    (ClipPPO, {"max_grad_norm": -1}, ValueError),
    (ClipPPO, {"max_grad_norm": 0}, ValueError),
    (ClipPPO, {"learning_rate": 0}, ValueError),
    (ClipPPO, {"learning_rate": 1e3}, ValueError),
    # Cryptic in SB3.
    (ClipPPO, {"n_epochs": 0}, ValueError),
    (ClipPPO, {"n_epochs": -1}, ValueError),
    (ClipPPO, {"n_epochs": 2.5}, TypeError),
    (ClipPPO, {"gamma": math.nan}, ValueError),
    (ClipPPO, {"vf_coef": math.nan}, ValueError),
    (ClipPPO, {"ent_coef": math.inf}, ValueError),
    # Ours.
    (ClipPPO, {"clip_range": True}, TypeError),
    (ClipPPO, {"clip_range": "0.2"}, ValueError),
    (ClipPPO, {"clip_range": "lin_fast"}, ValueError),
    (ClipPPO, {"clip_range": None}, TypeError),
    (ClipPPO, {"clip_range_high": -0.1}, ValueError),
    (ClipPPO, {"clip_range_vf": 0}, ValueError),
    (ClipPPO, {"clip_range_vf_mode": "min"}, ValueError),
    (ClipPPO, {"dual_clip": 1.0}, ValueError),
    (ClipPPO, {"clip_softness": -0.1}, ValueError),
    (ClipPPO, {"clip_softness": None}, TypeError),
    (ClipPPO, {"kl_coef": -0.1}, ValueError),
    (ClipPPO, {"normalize_advantage": "batch"}, ValueError),
    (ClipPPO, {"batch_size": 0}, ValueError),
    (ClipPPO, {"batch_size": 1}, ValueError),
    (ClipPPO, {"batch_size": 32.0}, TypeError),
    (ClipPPO, {"n_steps": 0}, ValueError),
    (ClipPPO, {"n_steps": 1, "batch_size": None}, ValueError),
    (ClipPPO, {"update_backend": "jax"}, ValueError),
    (ClipPPO, {"bootstrap_truncated": "no"}, ValueError),
    (ClipPPO, {"learning_rate_vf": 0}, ValueError),
    (ClipPPO, {"nonfinite_update": "ignore"}, ValueError),
    (ClipPPO, {"use_sde": "no"}, ValueError),
    (ClipPPO, {"seed": -1}, ValueError),
    (ClipPPO, {"seed": 1.5}, TypeError),
    (ClipPPO, {"reference_policy": 3}, TypeError),
    (ClipPPO, {"reference_policy": "no/such/model.zip"}, ValueError),
    (ClipPPO, {"reference_kl_coef": -0.1}, ValueError),
    (ClipPPO, {"reference_kl_coef": 0.1}, ValueError),
    (ClipPPO, {"reference_kl_direction": "both"}, ValueError),
    (ClipPPO, {"adaptive_reference_kl_target": 0}, ValueError),
    (ClipPPO, {"critic_warmup": -1}, ValueError),
    (ClipPPO, {"critic_warmup": 1.5}, TypeError),
    (KLPenaltyPPO, {"kl_coef": -1}, ValueError),
    (KLPenaltyPPO, {"kl_coef": 0}, ValueError),
    (KLPenaltyPPO, {"kl_coef": "lin_1.0"}, ValueError),
    (KLPenaltyPPO, {"adaptive_kl_target": 0}, ValueError),
    (KLPenaltyPPO, {"kl_tolerance": 0.5}, ValueError),
    (KLPenaltyPPO, {"kl_coef_factor": 1}, ValueError),
    (SPO, {"clip_range": 0}, ValueError),
    (RollbackPPO, {"rollback": -0.1}, ValueError),
    (RollbackPPO, {"rollback": "lin_0.3"}, TypeError),
    (DiscoveredPPO, {"drift_alpha": 0}, ValueError),
    (DiscoveredPPO, {"drift_beta": math.inf}, ValueError),
    (ScopicPPO, {"temperature": 0}, ValueError),
    (ScopicPPO, {"kl_coef": -1}, ValueError),
    (REINFORCE, {"baseline": "yes"}, ValueError),
    (TRPO, {"target_kl": 0}, ValueError),
    (TRPO, {"target_kl": None}, TypeError),
    (TRPO, {"cg_max_steps": 0}, ValueError),
    (TRPO, {"cg_damping": -0.1}, ValueError),
    (TRPO, {"line_search_shrinking_factor": 1.0}, ValueError),
    (TRPO, {"line_search_max_iter": 0}, ValueError),
    (TRPO, {"n_critic_updates": -1}, ValueError),
    (TRPO, {"sub_sampling_factor": 0}, ValueError),
    (TRPO, {"kl_direction": "both"}, ValueError),
    (TRPO, {"kl_reduction": "max"}, ValueError),
    (TRPO, {"cg_start": "warm"}, ValueError),
]


def case_name(number: int) -> str:
    # The repr of a lambda differs between test processes; names must not.
    algorithm, argument, _ = BAD[number]
    return f"{number}-{algorithm.__name__}-{next(iter(argument))}"


@pytest.mark.parametrize("number", range(len(BAD)), ids=case_name)
def test_bad_values_are_named_with_rule_and_remedy(number: int) -> None:
    algorithm, argument, error = BAD[number]
    name = next(iter(argument))
    with pytest.raises(error, match=rf"^{name}.*: .+") as caught:
        algorithm("MlpPolicy", make_env(), **argument)
    value = argument[name]
    if not callable(value) and value != "lin_1.0":
        assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("algorithm", "argument"),
    [
        (ClipPPO, {"batch_size": 1, "normalize_advantage": False, "n_steps": 4}),
        (ClipPPO, {"batch_size": None}),
        (ClipPPO, {"learning_rate": lambda progress: 1e-3 * (1 - progress)}),
        (ClipPPO, {"clip_range": "lin_0.2", "ent_coef": "lin_0.01", "vf_coef": "lin_0.5", "kl_coef": "lin_1"}),
        (ClipPPO, {"clip_range": 1, "gamma": 1, "gae_lambda": 0, "dual_clip": 3}),
        (ClipPPO, {"clip_softness": "lin_0.2", "clip_range_high": 0.3, "dual_clip": 3}),
        (SPO, {"clip_range": "lin_0.2"}),
        (TRPO, {"critic_warmup": 2, "reference_kl_direction": "new_ref"}),
        (RollbackPPO, {"rollback": 0}),
        (ScopicPPO, {"kl_coef": 0}),
        (KLPenaltyPPO, {"kl_coef": 0, "adaptive_kl_target": None}),
        (KLPenaltyPPO, {"kl_coef": "lin_3.0", "adaptive_kl_target": None}),
        (TRPO, {"n_critic_updates": 0, "cg_damping": 0}),
    ],
)
def test_good_values_pass(algorithm, argument) -> None:
    algorithm("MlpPolicy", make_env(), **argument)


def test_the_names_of_other_libraries_are_not_ours() -> None:
    names = [name for listed in _ELSEWHERE.values() for name in listed.split()]
    ours = {name for cls in FAMILY for name in inspect.signature(cls).parameters}
    assert len(names) == len(set(names))
    assert set(_ELSEWHERE) <= ours
    assert not ours.intersection([*names, *_OTHERWISE, *_OF_POLICIES])


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"^ClipPPO has no argument 'clip_rnage': did you mean 'clip_range'\?"):
        ClipPPO("MlpPolicy", make_env(), clip_rnage=0.1)
    with pytest.raises(TypeError, match=r"^REINFORCE has no argument 'n_epochs'"):
        REINFORCE("MlpPolicy", make_env(), n_epochs=3)
    for name, said in (
        ("lr", "here it is 'learning_rate'"),
        ("eps_clip", "here it is 'clip_range'"),
        ("net_arch", r"policies are made with it: policy_kwargs=dict\(net_arch=…\)"),
        ("n_envs", "environments are made first"),
        ("n_minibatches", "batch_size is the number of rows in a minibatch"),
    ):
        with pytest.raises(TypeError, match=f"^ClipPPO has no argument '{name}': {said}"):
            ClipPPO("MlpPolicy", make_env(), **{name: 1})
    with pytest.raises(
        TypeError, match=r"no argument 'epsilon': here it is 'clip_range'. That is an argument of ClipPPO"
    ):
        REINFORCE("MlpPolicy", make_env(), epsilon=0.2)
    with pytest.raises(TypeError, match=r"^UnclippedPPO has no argument 'xyzzy': it takes policy, env"):
        UnclippedPPO("MlpPolicy", make_env(), xyzzy=3)


@pytest.mark.parametrize(
    ("policy", "use_masking", "message"),
    [
        (
            "betamlppolicy",
            False,
            r"did you mean 'BetaMlpPolicy'\? The names are MlpPolicy, .*, BetaMultiInputPolicy\.$",
        ),
        ("BetaMlpLstmPolicy", False, "Beta policies have no memory. The names are MlpPolicy,"),
        ("xyzzy", True, "^policy='xyzzy' is unknown: The names are MlpPolicy, .*, MultiInputLstmPolicy\\.$"),
    ],
)
def test_unknown_policies_are_answered_with_the_names(policy, use_masking, message) -> None:
    with pytest.raises(ValueError, match=message):
        ClipPPO(policy, make_env(actions="discrete"), use_masking=use_masking)


@pytest.mark.parametrize(
    ("policy", "instead"),
    [
        ("BetaMlpPolicy", "BetaMultiInputPolicy"),
        ("BetaCnnPolicy", "BetaMultiInputPolicy"),
        ("MlpLstmPolicy", "MultiInputLstmPolicy"),
    ],
)
def test_policies_for_arrays_are_refused_with_dict_observations(policy, instead) -> None:
    with pytest.raises(ValueError, match=f'^policy="{policy}" cannot read Dict observations: pass "{instead}"'):
        TRPO(policy, make_env(observations="dict"))


class Unbounded(RandomWalk):
    def __init__(self):
        super().__init__()
        self.action_space = spaces.Box(-math.inf, 1.0, (2,))


@pytest.mark.parametrize("policy", ["MlpPolicy", "BetaMlpPolicy"])
def test_actions_without_bounds_are_refused_with_the_remedy(policy) -> None:
    with pytest.raises(ValueError, match=r"Box\(-inf, 1.0, .*need finite bounds.*Declare such a Box") as info:
        ClipPPO(policy, Unbounded())
    assert isinstance(info.value, AssertionError)  # as SB3's


@pytest.mark.parametrize(
    ("algorithm", "argument", "message"),
    [
        (KLPenaltyPPO, "dual_clip", "an argument of ClipPPO; kl_coef and adaptive_kl_target restrain its steps"),
        (KLPenaltyPPO, "clip_rnage", "'clip_range'. That is an argument of ClipPPO, RollbackPPO and SPO; kl_coef"),
        (UnclippedPPO, "clip_range", "an argument of ClipPPO, RollbackPPO and SPO; nothing restrains its steps"),
        (ClipPPO, "rollback", "an argument of RollbackPPO; clip_range restrains its steps"),
        (SPO, "clip_softness", "an argument of ClipPPO; clip_range restrains its steps"),
        (RollbackPPO, "kl_coef", "an argument of ClipPPO, KLPenaltyPPO and ScopicPPO; clip_range and rollback"),
        (DiscoveredPPO, "temperature", "an argument of ScopicPPO; drift_alpha and drift_beta restrain its steps"),
        (ScopicPPO, "adaptive_kl_target", "an argument of KLPenaltyPPO; temperature and kl_coef restrain its steps"),
        (TRPO, "n_epochs", "n_critic_updates is the number of epochs of its critic"),
        (TRPO, "clip_range", "target_kl bounds its steps"),
        (REINFORCE, "batch_size", "it makes one step per rollout"),
        (ClipPPO, "n_critic_updates", "an argument of TRPO; n_epochs is its number of epochs"),
        (ClipPPO, "rms_prop_eps", "an argument of SB3's A2C"),
    ],
)
def test_arguments_of_other_algorithms_are_not_answered_with_similar_ones(algorithm, argument, message) -> None:
    with pytest.raises(TypeError, match=message) as info:
        algorithm("MlpPolicy", make_env(), **{argument: 1})
    assert "clip_range_vf'" not in str(info.value)
    assert "n_steps" not in str(info.value)


def test_what_a_class_sets_itself_is_no_argument_of_it() -> None:
    with pytest.raises(TypeError, match=r"^REINFORCE has no argument 'gae_lambda'"):
        REINFORCE("MlpPolicy", make_env(), gae_lambda=0.9)
    for name in ("vf_coef", "measure_kl"):
        with pytest.raises(TypeError, match=rf"^TRPO has no argument '{name}'"):
            TRPO("MlpPolicy", make_env(), **{name: 0.5})


def test_load_checks_overrides_but_not_what_is_in_the_file(tmp_path) -> None:
    model = ClipPPO("MlpPolicy", make_env(), n_steps=64)
    # As rl_zoo3 does to load for enjoying.
    model.learning_rate = 0.0
    model.save(tmp_path / "model")
    loaded = ClipPPO.load(tmp_path / "model", custom_objects={"clip_range": lambda _: 0.0})
    assert loaded.learning_rate == 0.0
    assert ClipPPO.load(tmp_path / "model", learning_rate="lin_0.5").lr_schedule(0.5) == 0.25
    with pytest.raises(ValueError, match=r"^clip_range=-0.3 is out of range"):
        ClipPPO.load(tmp_path / "model", clip_range=-0.3)
    with pytest.raises(TypeError, match="did you mean 'clip_range'"):
        ClipPPO.load(tmp_path / "model", clip_rnage=0.3)


def test_short_minibatch_warns_on_the_users_line() -> None:
    with pytest.warns(UserWarning, match=r"batch_size=48 .* after 1 full minibatches comes one of 16") as caught:
        ClipPPO("MlpPolicy", make_env(), n_steps=64, batch_size=48)
    assert caught[0].filename == __file__


class Mine(KLPenaltyPPO):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


@pytest.mark.parametrize("algorithm", [KLPenaltyPPO, UnclippedPPO, TRPO, Mine])
def test_the_warning_names_the_line_that_called_the_class(algorithm) -> None:
    with pytest.warns(UserWarning, match="batch_size=48") as caught:
        algorithm("MlpPolicy", make_env(), n_steps=64, batch_size=48)
    assert linecache.getline(caught[0].filename, caught[0].lineno).strip().startswith('algorithm("MlpPolicy"')


def test_a_minibatch_larger_than_the_rollout_warns() -> None:
    with pytest.warns(UserWarning, match=r"batch_size=4096 is larger than the rollout .* = 64 rows: each epoch is one"):
        ClipPPO("MlpPolicy", make_env(), n_steps=64, batch_size=4096)


def test_the_signature_starts_like_ppo() -> None:
    ours, theirs = inspect.signature(ClipPPO).parameters, inspect.signature(PPO).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    different = {name for name in theirs if ours[name].default != theirs[name].default}
    assert different == {"ent_coef"}
    assert list(ours)[len(theirs) :] == [
        "clip_range_high",
        "dual_clip",
        "clip_softness",
        "kl_coef",
        "use_masking",
        "sequence_length",
        "refresh_states",
        "reference_policy",
        "reference_kl_coef",
        "reference_kl_direction",
        "adaptive_reference_kl_target",
        "critic_warmup",
        "learning_rate_vf",
        "bootstrap_truncated",
        "update_backend",
        "nonfinite_update",
        "measure_kl",
        "clip_range_vf_mode",
    ]


def test_positional_arguments_mean_what_they_mean_in_ppo() -> None:
    arguments = ("MlpPolicy", make_env(), 1e-3, 32, 16, 4, 0.9, 0.8, 0.1, 0.3)
    ours, theirs = ClipPPO(*arguments), PPO(*arguments)
    for name in ("learning_rate", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.clip_range(1.0) == theirs.clip_range(1.0)
    assert ours.clip_range_vf(1.0) == theirs.clip_range_vf(1.0)


@pytest.mark.parametrize("algorithm", [*FAMILY, OnPolicyVariant], ids=lambda algorithm: algorithm.__name__)
def test_every_visible_argument_is_accepted_and_documented(algorithm) -> None:
    parameters = inspect.signature(algorithm).parameters
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    documented = {
        name
        for cls in algorithm.__mro__
        for name in re.findall(r":param (\w+):", (cls.__doc__ or ""))
        if cls is not object
    }
    assert set(parameters) <= documented
    if algorithm is not OnPolicyVariant:
        given = {n: p.default for n, p in parameters.items() if p.default is not p.empty and n != "_init_setup_model"}
        model = algorithm("MlpPolicy", make_env(), **given)
        for name in set(given) - {"stats_window_size", "device", "policy_kwargs", "rollout_buffer_kwargs"}:
            assert hasattr(model, name), name


def test_typed_arguments_match_the_constructors() -> None:
    for cls in (*FAMILY, OnPolicyVariant):
        init = inspect.signature(cls.__init__).parameters
        kwargs = [p for p in init.values() if p.kind is p.VAR_KEYWORD]
        if kwargs:
            typed = get_args(kwargs[0].annotation)[0].__annotations__
            parent = OnPolicyAlgorithm if cls is OnPolicyVariant else cls.__mro__[1]
            inherited = inspect.signature(parent).parameters
            assert set(typed) <= set(inherited)
            # What is not passed on, the class sets itself.
            set_here = {"gae_lambda", "vf_coef", "measure_kl", "monitor_wrapper", "supported_action_spaces"}
            assert set(inherited) - set(typed) - set(init) <= set_here, cls


def test_documented_defaults_are_the_classes_defaults() -> None:
    parameters = inspect.signature(ClipPPO).parameters
    for documented in defaults.DOCUMENTED:
        assert parameters[documented.argument].default == documented.default
        if documented.low is not None:
            assert documented.low <= documented.default <= documented.high


@pytest.mark.parametrize("algorithm", FAMILY, ids=lambda algorithm: algorithm.__name__)
def test_help_describes_every_argument_in_full(algorithm) -> None:
    shown = pydoc.render_doc(algorithm, renderer=pydoc.plaintext)
    described = re.findall(r":param (\w+): (.+)", inspect.getdoc(algorithm) or "")
    assert [name for name, _ in described] == list(inspect.signature(algorithm).parameters)
    for name, text in described:
        assert f":param {name}: {text}" in shown
        assert not text.lower().startswith("see ")


def test_a_subclass_is_described_with_its_own_arguments() -> None:
    class Own(ClipPPO):
        """
        Mine.

        :param strength: How strong
        """

        def __init__(self, *args: Any, strength: float = 1.0, **kwargs: Any):
            super().__init__(*args, **kwargs)

    doc = inspect.getdoc(Own) or ""
    assert doc.startswith("Mine.\n\n:param policy: ")
    assert ":param strength: How strong" in doc
