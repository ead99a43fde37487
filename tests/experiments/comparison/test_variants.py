"""Variants of a comparison."""

import pytest

from sb3_ppo_variants.experiments.comparison.variants import Variant, variants, with_own_settings, with_settings
from tests.experiments.mine import MyPPO


def test_names() -> None:
    found = variants(
        ["clip_ppo", "narrow=clip_ppo", "mine=tests.experiments.mine:MyPPO", MyPPO],
        {"narrow": {"clip_range": 0.1}},
        normalize={"norm_reward": False},
    )
    assert [(v.name, v.algorithm) for v in found] == [
        ("clip_ppo", "clip_ppo"),
        ("narrow", "clip_ppo"),
        ("mine", "tests.experiments.mine:MyPPO"),
        ("tests.experiments.mine:MyPPO", "tests.experiments.mine:MyPPO"),
    ]
    assert [dict(v.settings) for v in found] == [{}, {"clip_range": 0.1}, {}, {}]
    assert all(v.normalize == {"norm_reward": False} for v in found)
    assert len(variants(["clip_ppo", "clip_ppo"], {})) == 1


@pytest.mark.parametrize(
    ("algorithms", "settings", "message"),
    [
        (["a=clip_ppo", "a=unclipped_ppo"], {}, "Two variants are called 'a'.*NAME=unclipped_ppo"),
        (["a=clip_pp"], {}, "Unknown algorithm 'clip_pp'.*Did you mean 'clip_ppo'"),
        (["narrow=clip_ppo"], {"clip_ppo": {"clip_range": 0.1}}, "'clip_ppo', which is not in the comparison: narrow"),
        (["narrow=clip_ppo"], {"narow": {}}, "Did you mean 'narrow'"),
    ],
)
def test_refused(algorithms: list[str], settings: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        variants(algorithms, settings)


def test_changed_settings() -> None:
    chosen = [Variant("a", "clip_ppo", {"clip_range": 0.1, "gamma": 0.9}), Variant("b", "clip_ppo")]
    changed = with_settings(chosen, {"a": {"clip_range": 0.3}})
    assert [dict(v.settings) for v in changed] == [{"clip_range": 0.3, "gamma": 0.9}, {}]
    with pytest.raises(ValueError, match="takes no argument 'clip_rnge'"):
        with_settings(chosen, {"a": {"clip_rnge": 1}})


def test_a_setting_within_a_dictionary_leaves_the_others() -> None:
    deep = Variant("deep", "clip_ppo", {"policy_kwargs": {"net_arch": [8]}})
    (changed,) = with_settings([deep], {"*": {"policy_kwargs": {"ortho_init": False}}})
    assert changed.settings == {"policy_kwargs": {"net_arch": [8], "ortho_init": False}}


def test_settings_of_all_variants() -> None:
    settings = {"*": {"n_steps": 64}, "narrow": {"clip_range": 0.1, "n_steps": 32}}
    compared = variants(["clip_ppo", "narrow=clip_ppo", "sb3:ppo"], settings)
    assert [variant.settings.get("n_steps") for variant in compared] == [64, 32, 64]
    assert compared[1].settings["clip_range"] == 0.1
    assert [v.settings["n_steps"] for v in with_settings(compared, {"*": {"n_steps": 128}})] == [128] * 3
    assert with_own_settings(compared, settings) == ["clip_ppo", "narrow", "sb3:ppo"]
    assert with_own_settings(compared, {"narrow": {}}) == ["narrow"]
    with pytest.raises(ValueError, match=r"reinforce takes no argument 'clip_range'.*VARIANT\.ARGUMENT=VALUE for one"):
        variants(["clip_ppo", "reinforce"], {"*": {"clip_range": 0.1}})
