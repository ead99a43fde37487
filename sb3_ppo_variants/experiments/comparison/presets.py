"""Named comparisons: their variants, environments and budget, and the published scores.

``table1`` is Table 1 of the PPO paper (Schulman et al. 2017, arXiv:1707.06347): eleven ways to bound the step.
``trust_regions`` compares the newer ways with the older ones.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sb3_ppo_variants.experiments.comparison.variants import Variant
from sb3_ppo_variants.experiments.runs.registry import did_you_mean

#: The seven environments of Section 6.1, in the versions that Gymnasium maintains.
MUJOCO = (
    *("HalfCheetah-v5", "Hopper-v5", "InvertedDoublePendulum-v5", "InvertedPendulum-v5", "Reacher-v5", "Swimmer-v5"),
    "Walker2d-v5",
)

#: Three of the seven, and the two with the most joints.
LEGGED = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5")

#: Table 1's column of scores: 0 the random policy, 1 the best result, mean over 7 environments × 3 seeds.
PUBLISHED = {
    "no_clipping": -0.39,
    "clip_0.1": 0.76,
    "clip_0.2": 0.82,
    "clip_0.3": 0.70,
    "adaptive_kl_0.003": 0.68,
    "adaptive_kl_0.01": 0.74,
    "adaptive_kl_0.03": 0.71,
    "fixed_kl_0.3": 0.62,
    "fixed_kl_1": 0.71,
    "fixed_kl_3": 0.72,
    "fixed_kl_10": 0.69,
}

# Section 6.1 and Table 3: T 2048, Adam 3e-4, 10 epochs, minibatch 64, γ 0.99, λ 0.95, no entropy bonus. What the paper
# does not say follows its authors' code (OpenAI Baselines, ppo1): advantages normalised over the rollout, no gradient
# clipping, a value loss of weight 1, time limits terminal.
_ADAM = {"learning_rate": 3e-4, "batch_size": 64, "n_epochs": 10}
_SHARED = {"n_steps": 2048, "gamma": 0.99, "gae_lambda": 0.95, "ent_coef": 0.0}
_TRPO = _SHARED | {"normalize_advantage": "rollout", "bootstrap_truncated": False}
_PAPER = _ADAM | _TRPO | {"vf_coef": 1.0, "max_grad_norm": None}
#: ppo1's filter: observations scaled by their running mean and standard deviation, then clipped to ±5.
_FILTER = {"norm_obs": True, "norm_reward": False, "clip_obs": 5.0}
# The conventions of SB3's ``PPO("MlpPolicy", env)``: per-minibatch normalisation, gradients clipped to 0.5, a value
# loss of weight 0.5, time limits bootstrapped, observations as they are.
_SB3 = _ADAM | _SHARED | {"vf_coef": 0.5, "max_grad_norm": 0.5, "normalize_advantage": True}

# The policy network with seven layers of SPO's authors (arXiv:2401.16025, their code), and the critic that they have.
_DEEP = {"policy_kwargs": {"net_arch": {"pi": [256, 256, 128, 128, 64, 64], "vf": [64, 64]}}}

READINGS = ("paper", "sb3")


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named comparison.

    :param variants: Its variants
    :param environments: Gymnasium ids
    :param timesteps: Training steps of a run
    :param seeds: Runs of each variant in each environment
    :param reference: The variant that the others are compared with
    :param published: Variant → score that was published for it
    :param published_timesteps: Training steps behind the published scores
    :param groups: Title → variants that are drawn together
    :param notes: What a reader of its report has to know
    """

    variants: tuple[Variant, ...]
    environments: tuple[str, ...]
    timesteps: int
    seeds: int
    reference: str
    published: Mapping[str, float]
    published_timesteps: int
    groups: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def preset(name: str, reading: str = "paper") -> Preset:
    """A comparison by its name.

    :param name: ``"table1"`` or ``"trust_regions"``
    :param reading: ``"paper"``, or ``"sb3"`` for SB3's conventions where the paper says nothing
    :raises ValueError: if there is no such preset or reading
    """
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}: choose {', '.join(PRESETS)}.{did_you_mean(name, PRESETS)}")
    if reading not in READINGS:
        raise ValueError(
            f"There is no reading {reading!r}: choose {', '.join(READINGS)}.{did_you_mean(reading, READINGS)}"
        )
    return PRESETS[name](reading)


def choose_variants(chosen: Preset, wanted: Iterable[str] | None) -> list[Variant]:
    """The variants of a preset that have one of the given names, or one of the given algorithms.

    :param chosen: The preset
    :param wanted: Names of variants or of algorithms; ``None``: all. ``"spo"``, which is both, is the variant alone
    :raises ValueError: for a name that is neither
    """
    if wanted is None:
        return list(chosen.variants)
    asked = [wanted] if isinstance(wanted, str) else list(wanted)
    known = dict.fromkeys([v.name for v in chosen.variants] + [v.algorithm for v in chosen.variants])
    for one in asked:
        if one not in known:
            raise ValueError(f"The preset has no variant {one!r}: choose {', '.join(known)}.{did_you_mean(one, known)}")
    algorithms = set(asked) - {v.name for v in chosen.variants}
    return [v for v in chosen.variants if v.name in asked or v.algorithm in algorithms]


def _table1(reading: str) -> Preset:
    variants = _paper_variants() if reading == "paper" else _sb3_variants()
    names = {v.name for v in variants}
    return Preset(
        variants=variants,
        environments=MUJOCO,
        timesteps=1_000_000,
        seeds=3,
        reference="clip_0.2",
        published={name: score for name, score in PUBLISHED.items() if name in names},
        published_timesteps=1_000_000,
        groups={
            "clipping": ("no_clipping", "clip_0.1", "clip_0.2", "clip_0.3"),
            "adaptive KL penalty": ("adaptive_kl_0.003", "adaptive_kl_0.01", "adaptive_kl_0.03"),
            "fixed KL penalty": ("fixed_kl_0.3", "fixed_kl_1", "fixed_kl_3", "fixed_kl_10"),
        },
        notes=(_READ_AS[reading], _VERSIONS),
    )


def _paper_variants() -> tuple[Variant, ...]:
    def variant(name: str, algorithm: str, **settings: Any) -> Variant:
        return Variant(name, algorithm, {**_PAPER, **settings}, _FILTER)

    return (
        variant("no_clipping", "unclipped_ppo"),
        *(variant(f"clip_{e}", "clip_ppo", clip_range=e) for e in (0.1, 0.2, 0.3)),
        *(
            variant(f"adaptive_kl_{target}", "kl_penalty_ppo", kl_coef=1.0, adaptive_kl_target=target)
            for target in (0.003, 0.01, 0.03)
        ),
        *(
            variant(f"fixed_kl_{beta:g}", "kl_penalty_ppo", kl_coef=beta, adaptive_kl_target=None)
            for beta in (0.3, 1.0, 3.0, 10.0)
        ),
        # Not in the paper's table: what clipping approximates, and what most people run.
        Variant("trpo", "paper_trpo", _TRPO, _FILTER),
        Variant("sb3_ppo", "sb3:ppo", {**_SB3, "clip_range": 0.2}),
    )


def _sb3_variants() -> tuple[Variant, ...]:
    return tuple(Variant(f"clip_{e}", "clip_ppo", {**_SB3, "clip_range": e}) for e in (0.1, 0.2, 0.3))


def _trust_regions(reading: str) -> Preset:
    older = ("no_clipping", "adaptive_kl_0.01", "fixed_kl_1", "trpo")
    newer = ("soft_clip_0.2", "rollback_0.3", "spo", "discovered", "scopic")
    deep = ("clip_0.2_deep", "rollback_0.3_deep", "spo_deep")
    variants = {v.name: v for v in _trust_region_variants(reading)}
    return Preset(
        variants=tuple(variants[name] for name in ("clip_0.2", *older, *newer, *deep)),
        environments=LEGGED,
        timesteps=300_000,
        seeds=3,
        reference="clip_0.2",
        published={},
        published_timesteps=0,
        groups={"older": ("clip_0.2", *older), "newer": ("clip_0.2", *newer), "seven layers": ("clip_0.2", *deep)},
        notes=(_CONVENTIONS[reading], _DEEP_ROWS),
    )


def _trust_region_variants(reading: str) -> Iterator[Variant]:
    # With the names and settings of table1 where it has the variant: its runs can be imported.
    ppo, trpo, normalize = (_PAPER, _TRPO, _FILTER) if reading == "paper" else (_SB3, _SHARED, None)

    def variant(name: str, algorithm: str, **settings: Any) -> Variant:
        return Variant(name, algorithm, {**ppo, **settings}, normalize)

    yield variant("no_clipping", "unclipped_ppo")
    yield variant("adaptive_kl_0.01", "kl_penalty_ppo", kl_coef=1.0, adaptive_kl_target=0.01)
    yield variant("fixed_kl_1", "kl_penalty_ppo", kl_coef=1.0, adaptive_kl_target=None)
    yield Variant("trpo", "paper_trpo", trpo, normalize)
    yield variant("soft_clip_0.2", "clip_ppo", clip_range=0.2, clip_softness=0.2)
    yield variant("discovered", "discovered_ppo", drift_alpha=2.0, drift_beta=0.6)
    yield variant("scopic", "scopic_ppo", temperature=4.0, kl_coef=0.1)
    for name, algorithm, settings in (
        ("clip_0.2", "clip_ppo", {"clip_range": 0.2}),
        ("rollback_0.3", "rollback_ppo", {"clip_range": 0.2, "rollback": 0.3}),
        ("spo", "spo", {"clip_range": 0.2}),
    ):
        yield variant(name, algorithm, **settings)
        yield variant(f"{name}_deep", algorithm, **settings, **_DEEP)


_READ_AS = {
    "paper": (
        "Where the paper says nothing, its authors' code is followed (OpenAI Baselines, ppo1): observations "
        "filtered by their running mean and deviation and clipped to ±5, advantages normalised over the rollout, "
        "no gradient clipping, a value loss of weight 1, time limits terminal. As the paper has it, and unlike "
        "that code, Adam's step size is constant, β starts at 1, and it is adapted from the exact KL after each "
        "update. Rows that are not the paper's: trpo has the same conventions, sb3_ppo is SB3's PPO as "
        "PPO('MlpPolicy', env) has it."
    ),
    "sb3": "Where the paper says nothing, SB3's PPO is followed: observations as they are, advantages normalised per "
    "minibatch, gradients clipped to 0.5, a value loss of weight 0.5, time limits bootstrapped.",
}
_CONVENTIONS = {
    "paper": (
        "All rows have the conventions of table1's paper reading (the PPO paper's, and OpenAI Baselines' ppo1 where it "
        "says nothing), not those of each method's own paper: constant step size, observations filtered by their "
        "running mean and deviation and clipped to ±5, rewards as they are, no gradient clipping. Settings of each "
        "method are its paper's; no row is tuned."
    ),
    "sb3": "All rows have the conventions of SB3's PPO, not those of each method's own paper. Settings of each method "
    "are its paper's; no row is tuned.",
}
_DEEP_ROWS = (
    "The rows that end in _deep have the policy network of SPO's authors: six hidden layers (256, 256, 128, 128, 64, "
    "64) and the output; their critic has two of 64, as all networks of the other rows have."
)
# From the version histories in Gymnasium's documentation of each environment.
_VERSIONS = (
    "The paper used Gym's v1 environments, on a MuJoCo of 2016; these are Gymnasium's v5. What ends an episode is the "
    "same. Hopper, Walker2d, InvertedPendulum and InvertedDoublePendulum no longer pay for being alive in the step in "
    "which they fall; Reacher's distance is measured after the step instead of before; both of Walker2d's feet have "
    "the same friction; Reacher and InvertedDoublePendulum observe no constant zeros any more. So returns are not "
    "comparable with those of 2017; only the order of the rows can be compared."
)

PRESETS = {"table1": _table1, "trust_regions": _trust_regions}
