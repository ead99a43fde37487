"""The presets: Table 1 of the PPO paper and what it says, and the trust regions."""

import pytest

from sb3_ppo_variants.experiments.comparison.comparison import plan
from sb3_ppo_variants.experiments.comparison.presets import MUJOCO, PUBLISHED, READINGS, choose_variants, preset


def test_table1_is_the_papers() -> None:
    table1 = preset("table1")
    variants = {v.name: v for v in table1.variants}
    assert list(PUBLISHED) == [name for name in variants if name in PUBLISHED]
    assert set(variants) - set(PUBLISHED) == {"trpo", "sb3_ppo"}
    assert (table1.timesteps, table1.seeds, len(table1.environments)) == (1_000_000, 3, 7)
    for name in PUBLISHED:
        variant = variants[name]
        assert variant.normalize == {"norm_obs": True, "norm_reward": False, "clip_obs": 5.0}
        # arXiv:1707.06347, Table 3, and Section 6.1: no entropy bonus
        for setting, value in {
            "n_steps": 2048, "learning_rate": 3e-4, "n_epochs": 10, "batch_size": 64, "gamma": 0.99,
            "gae_lambda": 0.95, "ent_coef": 0.0, "max_grad_norm": None, "normalize_advantage": "rollout",
            "bootstrap_truncated": False,
        }.items():  # fmt: skip
            assert variant.settings[setting] == value, (name, setting)
    assert [variants[f"clip_{e}"].settings["clip_range"] for e in (0.1, 0.2, 0.3)] == [0.1, 0.2, 0.3]
    for target in (0.003, 0.01, 0.03):
        settings = variants[f"adaptive_kl_{target}"].settings
        assert (settings["kl_coef"], settings["adaptive_kl_target"]) == (1.0, target)
    for beta in ("0.3", "1", "3", "10"):
        settings = variants[f"fixed_kl_{beta}"].settings
        assert (settings["kl_coef"], settings["adaptive_kl_target"]) == (float(beta), None)
    assert variants["no_clipping"].algorithm == "unclipped_ppo"
    grouped = [name for members in table1.groups.values() for name in members]
    assert grouped == list(PUBLISHED)


def test_every_variant_can_be_built() -> None:
    for name in ("table1", "trust_regions"):
        for reading in READINGS:
            variants = preset(name, reading).variants
            runs = plan("Pendulum-v1", variants, 100, 1, to_build=[v.name for v in variants])
            assert len(runs) == len(variants)


def test_the_trust_regions() -> None:
    chosen = preset("trust_regions")
    variants = {v.name: v for v in chosen.variants}
    algorithms = ["clip_ppo", "discovered_ppo", "kl_penalty_ppo", "paper_trpo", "rollback_ppo", "scopic_ppo", "spo"]
    assert sorted({v.algorithm for v in chosen.variants}) == [*algorithms, "unclipped_ppo"]
    assert (chosen.timesteps, chosen.seeds, len(chosen.environments)) == (300_000, 3, 5)
    assert variants["soft_clip_0.2"].settings["clip_softness"] == 0.2
    assert [variants[name].settings["adaptive_kl_target"] for name in ("adaptive_kl_0.01", "fixed_kl_1")] == [
        0.01,
        None,
    ]
    for name in ("clip_0.2", "rollback_0.3", "spo"):
        own, deep = variants[name], variants[f"{name}_deep"]
        network = {"net_arch": {"pi": [256, 256, 128, 128, 64, 64], "vf": [64, 64]}}
        assert deep.settings == {**own.settings, "policy_kwargs": network}
        assert (deep.algorithm, deep.normalize) == (own.algorithm, own.normalize)
    assert {name for members in chosen.groups.values() for name in members} == set(variants)


@pytest.mark.parametrize("reading", READINGS)
def test_both_presets_mean_the_same_by_a_name(reading: str) -> None:
    table1, trust_regions = ({v.name: v for v in preset(n, reading).variants} for n in ("table1", "trust_regions"))
    shared = table1.keys() & trust_regions.keys()
    assert "clip_0.2" in shared
    assert all(table1[name] == trust_regions[name] for name in shared)


def test_sb3s_reading() -> None:
    table1 = preset("table1", "sb3")
    assert [v.name for v in table1.variants] == ["clip_0.1", "clip_0.2", "clip_0.3"]
    assert list(table1.published) == ["clip_0.1", "clip_0.2", "clip_0.3"]
    for variant in table1.variants:
        assert variant.normalize is None
        assert variant.settings["normalize_advantage"] is True
        assert (variant.settings["max_grad_norm"], variant.settings["vf_coef"]) == (0.5, 0.5)
        assert "bootstrap_truncated" not in variant.settings


def test_a_part_of_it() -> None:
    table1 = preset("table1")
    assert len(choose_variants(table1, None)) == 13
    assert [v.name for v in choose_variants(table1, ["clip_0.2", "unclipped_ppo"])] == ["no_clipping", "clip_0.2"]
    assert len(choose_variants(table1, ["kl_penalty_ppo"])) == 7
    with pytest.raises(ValueError, match=r"has no variant 'clip_0\.4': choose .*Did you mean 'clip_0"):
        choose_variants(table1, ["clip_0.4"])
    trust_regions = preset("trust_regions")
    assert [v.name for v in choose_variants(trust_regions, ["spo"])] == ["spo"]
    assert [v.name for v in choose_variants(trust_regions, ["spo", "spo_deep"])] == ["spo", "spo_deep"]
    assert [v.name for v in choose_variants(trust_regions, ["rollback_ppo"])] == ["rollback_0.3", "rollback_0.3_deep"]


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"no preset 'table2': choose table1.* Did you mean 'table1'"):
        preset("table2")
    with pytest.raises(ValueError, match="no reading 'baselines': choose paper, sb3"):
        preset("table1", "baselines")
    assert len(MUJOCO) == 7
