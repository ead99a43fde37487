"""``report.html``: a whole comparison in one file, for a phone, a desktop, a printer or a mail."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sb3_ppo_variants.experiments.compare import pictures as pictures
from sb3_ppo_variants.experiments.compare.aggregate_tables import published_scales
from sb3_ppo_variants.experiments.compare.tables import MANY_ROWS, Report
from sb3_ppo_variants.experiments.engine.records import Record, complete_environments, scores
from sb3_ppo_variants.experiments.reporting.curves import AXES, Groups, curve_figure, panels, save
from sb3_ppo_variants.experiments.reporting.page import (
    Block,
    Bullets,
    Callout,
    Code,
    Folded,
    Grid,
    Picture,
    Pictures,
    Section,
    Text,
    page,
)
from sb3_ppo_variants.experiments.reporting.tables import interval, number
from sb3_ppo_variants.experiments.stats import estimators as statistics
from sb3_ppo_variants.experiments.stats.aggregates import Estimate, aggregate, rank_correlation
from sb3_ppo_variants.experiments.stats.scales import Scale, shipped_scale
from sb3_ppo_variants.files import write_text

FOOT = "Made by ppo-variants compare. Everything in this file is computed from the runs in the comparison's ledger."


class ReportPage:
    """Makes the page and the PNG files beside it.

    :param rows: The comparison
    :param report: Its tables
    :param reference: The row that the others are compared with
    :param published: Row → score that was published for it
    :param groups: Title → rows that are drawn together
    """

    def __init__(
        self,
        rows: Sequence[Record],
        report: Report,
        reference: str,
        published: Mapping[str, float] | None = None,
        groups: Groups | None = None,
    ):
        self.rows, self.report, self.reference = rows, report, reference
        self.published = dict(published or {})
        self.names = list(dict.fromkeys(r.run.variant for r in rows))
        self.environments = list(dict.fromkeys(r.run.environment for r in rows))
        self.panels = panels(self.names, groups)
        self.scale = self._scale()

    def write(self, out: Path, command: str | None = None) -> list[Path]:
        """Write ``report.html``, and over several environments ``scores.png`` and ``profiles.png``.

        :param out: The folder
        :param command: What made the comparison
        :return: The files written
        """
        files = []
        if self.scale is not None:
            shown = self._scaled_rows(self.scale)
            files.append(
                save(pictures.interval_figure(self.rows, shown, self.scale, self.published), out / "scores.png")
            )
            files.append(save(pictures.profile_figure(self.rows, shown, self.scale, self.panels), out / "profiles.png"))
        path = out / "report.html"
        write_text(path, page(self._title(), self._lead(), self._sections(command), FOOT))
        return [*files, path]

    def _scale(self) -> Scale | None:
        """The scale of the pictures over all environments."""
        if self.published:
            found = published_scales(self.rows, self.published)
            return found[0] if found else None
        complete = complete_environments(self.rows, self.names)
        return shipped_scale(complete) if len(complete) > 1 else None

    def _scaled_rows(self, scale: Scale) -> list[str]:
        return [name for name in self.names if all(scores(self.rows, name, e) for e in scale.ends)]

    # ---- The top ----

    def _title(self) -> str:
        many = len(self.environments) > 3
        where = f"{len(self.environments)} environments" if many else ", ".join(self.environments)
        return f"{len(self.names)} ways to bound the step on {where}" if self.published else f"Comparison on {where}"

    def _lead(self) -> list[Block]:
        runs = [r.run for r in self.rows]
        done = sum(r.state == "done" for r in self.rows)
        seeds = len({run.seed for run in runs})
        budget = f"{runs[0].timesteps:,} timesteps" if runs[0].wall_time is None else f"{runs[0].wall_time:g} seconds"
        what = f"{len(self.names)} rows × {len(self.environments)} environments × {seeds} seeds, {budget} each"
        state = f"all {done} runs are done" if done == len(self.rows) else f"{done} of {len(self.rows)} runs are done"
        return [Callout(self.words(), good=done == len(self.rows)), Text(f"{what}; {state}.")]

    def words(self) -> str:
        """The finding in a sentence or two."""
        if self.scale is not None:
            return self._words_over_environments(self.scale)
        return " ".join(self._words_on(environment) for environment in self.environments[:3])

    def _words_over_environments(self, scale: Scale) -> str:
        ours = {name: aggregate(scale.samples(self.rows, name)).mean for name in self._scaled_rows(scale)}
        order = sorted(ours, key=lambda name: -ours[name].value)
        first, last = order[0], order[-1]
        where = f"{len(scale.ends)} environments" if len(scale.ends) > 3 else " and ".join(scale.ends)
        text = (
            f"Best mean score over {where}: {first} with {_said(ours[first])}; worst: {last} with {_said(ours[last])}."
        )
        compared = [name for name in order if name in self.published]
        if len(compared) > 2:
            samples = [scale.samples(self.rows, name) for name in compared]
            rho = rank_correlation(samples, [self.published[name] for name in compared]).spearman
            text += f" Order beside the published one: Spearman's ρ = {_said(rho)}."
        return text

    def _words_on(self, environment: str) -> str:
        found = {name: scores(self.rows, name, environment) for name in self.names}
        centers = {name: float(statistics.center(sample)) for name, sample in found.items() if sample}
        if not centers:
            return f"{environment}: no run has finished."
        best = max(centers, key=lambda name: centers[name])
        text = f"{environment}: {best} has the highest final return, {number(centers[best])}"
        if best != self.reference and found.get(self.reference):
            pair = [(found[best], found[self.reference])]
            better = Estimate(statistics.mean_improvement(pair), statistics.improvement_interval(pair))
            text += f"; a run of it beats one of {self.reference} with probability {_said(better)}"
        return text + "."

    # ---- The sections ----

    def _sections(self, command: str | None) -> list[Section]:
        finished = [e for e in self.environments if any(scores(self.rows, name, e) for name in self.names)]
        overall = [Section("Over all environments", self._overall())] if self.report.overall else []
        single = [
            Section(environment, [Grid(table), *self._curves(environment, environment in finished)])
            for environment, table in zip(self.environments, self.report.single, strict=True)
        ]
        made: list[Block] = [Code(command)] if command else []
        return [
            *overall,
            *single,
            Section("Settings", self._settings()),
            Section("How to read it", [Bullets(self.report.notes)]),
            Section("Command and software", [*made, Text(self._versions())]),
        ]

    def _overall(self) -> list[Block]:
        blocks: list[Block] = []
        if self.scale is not None:
            shown = self._scaled_rows(self.scale)
            caption = f"Scores over {len(self.scale.ends)} environments; {self.scale.name}."
            figure = pictures.interval_figure(self.rows, shown, self.scale, self.published)
            blocks.append(Picture(figure, f"Mean and interquartile mean of each row. {caption}", caption))
        blocks += [Grid(table) for table in self.report.overall]
        if self.scale is not None:
            caption = "Share of runs that score above τ: higher is better everywhere."
            profiles = [
                Picture(
                    pictures.profile_figure(self.rows, shown, self.scale, [panel]),
                    f"Performance profile. {panel[0]}",
                    caption,
                )
                for panel in self.panels
            ]
            blocks.append(Pictures(profiles))
        return blocks

    def _curves(self, environment: str, finished: bool) -> list[Block]:
        if not finished:
            return [Text("No run has finished here yet.")]
        drawn = {
            over: Pictures(
                [
                    Picture(
                        curve_figure(self.rows, environment, over, [panel]),
                        f"Learning curves on {environment} over {AXES[over]}: {', '.join(panel[1])}",
                        f"Return over {AXES[over]}.",
                    )
                    for panel in self.panels
                ]
            )
            for over in AXES
        }
        return [drawn["timesteps"], Folded("The same over time", [drawn["seconds"]])]

    def _settings(self) -> list[Block]:
        if not self.report.settings:
            return [Text("All rows have the same settings.")]
        return [Grid(table, prose=len(self.names) > MANY_ROWS) for table in self.report.settings]

    def _versions(self) -> str:
        made_by = [r.result.versions for r in self.rows if r.result is not None]
        if not made_by:
            return "No run has finished."
        return ", ".join(f"{package} {version}" for package, version in made_by[0].items()) + "; one thread a run."


def _said(found: Estimate) -> str:
    return f"{found.value:.2f}" if found.interval is None else f"{found.value:.2f} {interval(found.interval, 2)}"
