"""The results of a comparison's runs, by variant and environment, as its tables and pictures need them."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sb3_ppo_variants.experiments.engine.records import Record, complete_environments, scores, select
from sb3_ppo_variants.experiments.runs.registry import PEERS
from sb3_ppo_variants.experiments.runs.run import SCORE_EPISODES, Result
from sb3_ppo_variants.experiments.runs.settings import has_our_settings
from sb3_ppo_variants.experiments.stats.intervals import corrected_level
from sb3_ppo_variants.experiments.stats.references import reference_returns
from sb3_ppo_variants.experiments.stats.scales import Scale, paper_scales, shipped_scale


@dataclasses.dataclass(frozen=True)
class Results:
    """The records of a comparison and how to read them.

    :param records: One per run
    :param reference: The variant that the others are compared with
    :param published: Variant → score that was published for it; empty unless a preset has them
    :param published_timesteps: Training steps behind the published scores
    """

    records: Sequence[Record]
    reference: str
    published: Mapping[str, float] = dataclasses.field(default_factory=dict)
    published_timesteps: int = 0

    @cached_property
    def variants(self) -> list[str]:
        """Names of the variants."""
        return list(dict.fromkeys(r.run.variant for r in self.records))

    @cached_property
    def environments(self) -> list[str]:
        """Gymnasium ids."""
        return list(dict.fromkeys(r.run.environment for r in self.records))

    @cached_property
    def peers(self) -> set[str]:
        """The variants of algorithms from other libraries."""
        return {r.run.variant for r in self.records if r.run.algorithm in PEERS}

    @cached_property
    def labels(self) -> dict[str, str]:
        """Variant → its name, with a mark on a peer that runs with our documented settings."""
        runs = {r.run.variant: r.run for r in self.records}
        ours = {name: has_our_settings(run.algorithm, run.settings) for name, run in runs.items()}
        return {name: f"{name} (our settings)" if marked else name for name, marked in ours.items()}

    @property
    def level(self) -> float:
        """Level of the interval of each difference from the reference, so that those of all variants hold jointly."""
        return corrected_level(max(len(self.variants) - 1, 1))

    def of(self, variant: str, environment: str) -> list[Record]:
        """The records of one variant in one environment.

        :param variant: Name of the variant
        :param environment: Gymnasium id
        """
        return select(self.records, variant, environment)

    def scores(self, variant: str, environment: str) -> list[float]:
        """Final returns of the finished runs of one variant in one environment.

        :param variant: Name of the variant
        :param environment: Gymnasium id
        """
        return scores(self.records, variant, environment)

    # ---- Over all environments ----

    @cached_property
    def finished(self) -> list[str]:
        """The variants that have a finished run."""
        done = {r.run.variant for r in self.records if r.state == "done"}
        return [variant for variant in self.variants if variant in done]

    @cached_property
    def complete(self) -> list[str]:
        """Environments in which each of them has one: a variant that fails everywhere takes nothing from the others."""
        return complete_environments(self.records, self.finished) if self.finished else []

    @cached_property
    def compared_with_published(self) -> list[str]:
        """The variants that have a published score and a finished run."""
        return [variant for variant in self.finished if variant in self.published]

    @cached_property
    def scales(self) -> list[Scale]:
        """Scales on which scores are averaged over environments, the first of which is drawn.

        With published scores these are the four readings of their scale, over the environments in which all published
        variants have a run and the random policy's return is known. Otherwise it is the scale of the shipped
        references. Empty if there is no such scale, or only one environment or variant to put on it.
        """
        if not self.published:
            shipped = shipped_scale(self.complete) if len(self.complete) > 1 else None
            return [] if shipped is None else [shipped]
        names = self.compared_with_published
        environments = complete_environments(self.records, names)
        if len(names) < 2 or not environments:
            return []
        known = [environment for environment in environments if reference_returns(environment) is not None]
        return paper_scales([{e: self.scores(name, e) for e in known} for name in names], known) if known else []

    @cached_property
    def shipped(self) -> Scale | None:
        """The scale of the shipped references, beside :attr:`scales` that the runs themselves set; ``None``
        otherwise, or if an environment has no reference."""
        return shipped_scale(list(self.scales[0].ends)) if self.scales and self.scales[0].conditional else None

    @cached_property
    def scored(self) -> list[str]:
        """The variants that have a run in each environment of the scale."""
        return [v for v in self.variants if self.scales and all(self.scores(v, e) for e in self.scales[0].ends)]

    def samples(self, variant: str, scale: Scale | None = None) -> list[NDArray]:
        """Scaled scores of one variant, one sample (n,) for each environment of the scale.

        :param variant: One of :attr:`scored`
        :param scale: By default the first of :attr:`scales`
        """
        scale = scale or self.scales[0]
        return scale.samples({environment: self.scores(variant, environment) for environment in scale.ends})


def share_scored(result: Result) -> float | None:
    """Share of a run's steps that the last 100 training episodes cover.

    :param result: The run's result
    :return: ``None`` if its learning curve is not known
    """
    length = result.curve[-1].mean_length if result.curve else None
    return None if length is None else min(result.episodes, SCORE_EPISODES) * length / result.steps


def score_by_steps(result: Result) -> tuple[float, float | None] | None:
    """Mean return over the last 10 % of a run's steps: the mean of the points of its learning curve there.

    Each point is the mean of the last 100 episodes until then. So with long episodes the score covers more steps.

    :param result: The run's result
    :return: The score, and the share of the steps that it covers (``None`` if the lengths of episodes are not known);
        ``None`` if its learning curve is not known
    """
    last = [p for p in result.curve if p.timesteps > 0.9 * result.steps and p.mean_return is not None]
    if not last:
        return None
    score, first = float(np.mean([p.mean_return for p in last])), last[0]
    if first.mean_length is None:
        return score, None
    before = min(result.episodes, SCORE_EPISODES) * first.mean_length  # steps of the first point's episodes
    return score, 1 - max(first.timesteps - before, 0) / result.steps
