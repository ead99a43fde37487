import hashlib
from typing import Any

import pytest

from sb3_ppo_variants.experiments.runs.settings import (
    ABSENT,
    EVERY,
    check_settings,
    constructor_parameters,
    differing_settings,
    full_settings,
    parse_assignments,
    parse_value,
    run_settings,
    settings_of_variant,
)

MINE = "tests.experiments.mine:MyPPO"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("128", 128),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("lin_0.01", "lin_0.01"),
        ("[64, 64]", [64, 64]),
        ("{'net_arch': [8]}", {"net_arch": [8]}),
        ("dict(activation_fn=nn.ReLU, net_arch=[8])", {"activation_fn": "nn.ReLU", "net_arch": [8]}),
        ("dict(net_arch=dict(pi=[8], vf=[8]))", {"net_arch": {"pi": [8], "vf": [8]}}),
        ("f(1)", "f(1)"),
        ("", ""),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_assignments() -> None:
    texts = ["sb3:ppo.n_steps=512", "a.b:C.x=1=2", "sb3:ppo.n_steps=256"]
    assert parse_assignments(texts) == {"sb3:ppo": {"n_steps": 256}, "a.b:C": {"x": "1=2"}}
    assert parse_assignments(["clip_range=0.1"], "clip_ppo") == {"clip_ppo": {"clip_range": 0.1}}


def test_assignments_to_all_variants_and_within_dictionaries() -> None:
    texts = ["n_steps=512", "a.policy_kwargs.optimizer_kwargs.eps=1e-7", "a.policy_kwargs.activation_fn=ReLU", "a.x=1"]
    assert parse_assignments(texts) == {
        EVERY: {"n_steps": 512},
        "a": {"policy_kwargs": {"optimizer_kwargs": {"eps": 1e-7}, "activation_fn": "ReLU"}, "x": 1},
    }
    texts = ["policy_kwargs={'net_arch': [8]}", "policy_kwargs.activation_fn=ReLU"]
    merged = {"policy_kwargs": {"net_arch": [8], "activation_fn": "ReLU"}}
    assert parse_assignments(texts, "clip_ppo") == {"clip_ppo": merged}
    assert parse_assignments(texts) == {EVERY: merged}


def test_settings_of_a_variant_replace_those_of_all() -> None:
    settings = {
        EVERY: {"n_steps": 512, "policy_kwargs": {"net_arch": [8], "ortho_init": False}},
        "narrow": {"n_steps": 64, "policy_kwargs": {"net_arch": [4]}},
    }
    assert settings_of_variant("other", "clip_ppo", settings) == settings[EVERY]
    assert settings_of_variant("narrow", "clip_ppo", settings) == {
        "n_steps": 64,
        "policy_kwargs": {"net_arch": [4], "ortho_init": False},
    }
    with pytest.raises(ValueError, match=r"takes no argument 'n_epochs'.*write VARIANT\.ARGUMENT=VALUE for one"):
        settings_of_variant("reinforce", "reinforce", {EVERY: {"n_epochs": 4}})


@pytest.mark.parametrize(
    "text", ["n_steps", "=5", "clip_ppo.n_steps", ".n_steps=5", "clip_ppo.=5", "clip_ppo.n-steps=5"]
)
def test_assignments_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"written argument=value or variant\.argument=value"):
        parse_assignments([text])


def test_assignment_for_one_algorithm_takes_no_algorithm() -> None:
    with pytest.raises(ValueError, match="written argument=value"):
        parse_assignments(["clip_ppo.clip_range=0.1"], "clip_ppo")


def test_parameters_of_a_subclass_that_hands_on_its_arguments() -> None:
    takes = constructor_parameters(MINE)
    assert {"my_argument", "clip_range", "policy"} <= set(takes)
    assert not {"env", "seed", "device", "verbose", "self"} & set(takes)


def test_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"sb3:ppo takes no argument 'clip_rnage'.+Did you mean 'clip_range'"):
        check_settings("sb3:ppo", {"clip_rnage": 0.1})


@pytest.mark.parametrize(
    ("algorithm", "argument", "message"),
    [
        ("kl_penalty_ppo", "dual_clip", "That is an argument of ClipPPO; kl_coef and adaptive_kl_target restrain"),
        ("contrib:trpo", "n_epochs", "n_critic_updates is the number of epochs of its critic"),
        ("sb3:ppo", "kl_coef", "That is an argument of ClipPPO, KLPenaltyPPO and ScopicPPO. It takes"),
    ],
)
def test_an_argument_of_another_algorithm_is_not_answered_with_a_similar_one(
    algorithm: str, argument: str, message: str
) -> None:
    with pytest.raises(ValueError, match=f"takes no argument '{argument}'") as info:
        check_settings(algorithm, {argument: 1})
    assert message in str(info.value)
    assert "Did you mean" not in str(info.value)


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [("seed", ": give it as --seed or --seeds"), ("device", ": runs train on the CPU"), ("self", "")],
)
def test_what_the_run_sets_is_no_setting(argument: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=f"'{argument}' of sb3:ppo is set by the run and cannot be a setting{remedy}"):
        check_settings("sb3:ppo", {argument: 1})


def test_settings_must_be_json() -> None:
    assert check_settings("sb3:ppo", {"policy_kwargs": {"net_arch": (8, 8)}}) == {"policy_kwargs": {"net_arch": [8, 8]}}
    with pytest.raises(TypeError, match="the ledger keeps them as JSON"):
        check_settings("sb3:ppo", {"learning_rate": lambda _: 0.1})


def test_peers_share_our_documented_settings_where_they_take_them() -> None:
    assert run_settings("sb3:ppo", {})["ent_coef"] == 0.01
    assert "n_epochs" not in run_settings("sb3:a2c", {})
    assert run_settings("sb3:a2c", {})["gae_lambda"] == 0.95
    assert run_settings("sb3:ppo", {"ent_coef": 0.5})["ent_coef"] == 0.5
    assert run_settings("sb3:ppo", {}, peer_defaults=True) == {}
    assert run_settings("clip_ppo", {}) == {}
    assert run_settings(MINE, {}) == {}


def test_full_settings_lay_what_is_passed_over_the_defaults() -> None:
    full = full_settings("sb3:ppo", {"ent_coef": 0.01})
    assert full["ent_coef"] == 0.01
    assert full["clip_range"] == 0.2


def test_differing_settings() -> None:
    rows = {"a": {"x": 1, "y": 2, "z": 3}, "b": {"x": 1, "y": 4, "z": 3}, "c": {"x": 1, "y": 2, "w": 5}}
    rows["b"]["v"], rows["c"]["v"] = 6, 7
    differing, alone, some = differing_settings(rows)
    assert differing == {"y": [2, 4, 2], "v": [ABSENT, 6, 7]}
    assert alone == {"c": {"w": 5}}
    assert some == {"z": 3}
    assert differing_settings({"a": {"x": 1}}) == ({}, {}, {})


def test_true_is_not_one() -> None:
    assert differing_settings({"a": {"x": True}, "b": {"x": 1}})[0] == {"x": [True, 1]}


def test_a_reference_is_kept_with_its_digest(tmp_path) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(b"")
    kept = check_settings("clip_ppo", {"reference_policy": str(file)})
    assert kept == {"reference_policy": f"{file}#sha256={hashlib.sha256(b'').hexdigest()}"}
    file.unlink()
    assert check_settings("clip_ppo", kept) == kept  # a ledger is read without the file
    with pytest.raises(ValueError, match=r"model.zip cannot be read"):
        check_settings("clip_ppo", {"reference_policy": str(file)})
    with pytest.raises(ValueError, match=r"model.zip cannot be read \([^)]*\)\.$"):  # and no hint on variants
        settings_of_variant("clip_ppo", "clip_ppo", {EVERY: {"reference_policy": str(file)}})
