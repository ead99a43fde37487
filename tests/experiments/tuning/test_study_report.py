"""The report of made-up studies: what it must say, with many trials, one, or none."""

import csv
import dataclasses
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import yaml

from sb3_ppo_variants import ClipPPO
from sb3_ppo_variants.defaults import DOCUMENTED
from sb3_ppo_variants.experiments.search_space.dimensions import BandRatio, Choice, Complement, Dimension, Integer, Real
from sb3_ppo_variants.experiments.stats.references import reference_pairs
from sb3_ppo_variants.experiments.tuning import pictures, report
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.progress import _trials
from sb3_ppo_variants.experiments.tuning.report import write_report, write_tables
from sb3_ppo_variants.experiments.tuning.trials import Candidate, TrialRecord
from sb3_ppo_variants.experiments.tuning.verdict import judge
from tests.experiments.html_reader import read

SPACE: dict[str, Dimension] = {
    "clip_range": Real(0.05, 0.4, log=True), "n_epochs": Integer(3, 10), "gae_lambda": Complement(0.8, 0.995),
    "ent_coef": Real(0.0, 0.05), "batch_size": Choice((32, 64, None)),
}  # fmt: skip
DEFAULT_VALUES = {"clip_range": 0.2, "n_epochs": 10, "gae_lambda": 0.95, "ent_coef": 0.01, "batch_size": 64}


def study(environments: Sequence[str] = ("CartPole-v1",), aggregation: str = "return") -> StudyPlan:
    return StudyPlan(
        "clip_ppo", tuple(environments), 5000, 2, 3, SPACE, {"n_steps": 256}, "tpe", 11, aggregation, False,
        reference_pairs(environments),
    )  # fmt: skip


def trial(
    plan: StudyPlan, number: int, score: float | None, reason: str | None = None, **values: object
) -> TrialRecord:
    returns = {} if score is None else {e: [score - 1, score, score + 1] for e in plan.environments}
    curves = {e: [[(2500, score), (5000, score)]] * 3 for e in returns}
    state = "done" if score is not None else "pruned" if reason and reason.startswith("pruned") else "failed"
    chosen = DEFAULT_VALUES | values
    versions = {"sb3_ppo_variants": "9.8.7", "torch": "2.99"}
    return TrialRecord(
        number, number, state, chosen, chosen if number else {}, returns, score, reason, 2.0, None, curves, versions
    )  # fmt: skip


def random_trials(plan: StudyPlan, count: int) -> list[TrialRecord]:
    """The score depends on clip_range alone."""
    rng = np.random.default_rng(0)
    return [trial(plan, 0, 10.0)] + [
        trial(
            plan, i, float(100 * x), clip_range=float(0.05 * 8**x), n_epochs=int(rng.integers(3, 11)),
            gae_lambda=float(rng.uniform(0.8, 0.99)), ent_coef=float(rng.uniform(0, 0.05)), batch_size=None,
        )
        for i, x in enumerate(rng.random(count - 1), 1)
    ]  # fmt: skip


def candidates(plan: StudyPlan, better: float) -> list[Candidate]:
    base = {e: [float(x) for x in range(10)] for e in plan.environments}
    mine = {e: [x + better for x in xs] for e, xs in base.items()}
    settings = {"clip_range": 0.123456789}
    return [
        Candidate("defaults", {}, DEFAULT_VALUES, base, {}),
        Candidate("trial 3", settings, DEFAULT_VALUES | settings, mine, {}),
    ]


def text_of(plan: StudyPlan, trials: Sequence[TrialRecord], looked_at: Sequence[Candidate], out: Path) -> str:
    found = judge(plan, looked_at) if looked_at else None
    (path,) = write_report(plan, trials, looked_at, found, out, "ppo-variants tune --algo clip_ppo")
    assert path == out / "report.html"
    return "\n".join(read(path.read_text(encoding="utf-8")).text)


def test_a_whole_study(tmp_path: Path) -> None:
    plan = study()
    failed = trial(plan, 41, None, "nan: the loss is <nan>", clip_range=0.39)
    trials = [*random_trials(plan, 40), failed, trial(plan, 40, None, "pruned at 2500 steps")]
    said = text_of(plan, trials, candidates(plan, 50.0), tmp_path)
    assert "Trial 3 beats the documented defaults: +50.0" in said
    # The winner to copy, as code and as an entry.
    assert "model = ClipPPO('MlpPolicy', env, clip_range=0.123456789)" in said
    (entry,) = (text for text in read((tmp_path / "report.html").read_text()).text if text.startswith("CartPole-v1:"))
    assert yaml.safe_load(entry) == {
        "CartPole-v1": {"n_envs": 2, "n_timesteps": 5000, "policy": "MlpPolicy", "clip_range": 0.123456789}
    }
    assert "42 trials (40 done, 1 pruned, 1 failed)" in said
    assert "1 of 42 trials failed: 1 nan." in said
    assert "nan: the loss is <nan>" in said
    assert "documented range 0.1 to 0.2, shaded" in said
    assert "documented range 3 to 10, shaded" in said
    assert "only the default 0.95 is documented, the dashed line" in said
    assert "Not searched here: gamma, vf_coef." in said
    assert "PED-ANOVA (arXiv:2304.10255) on 40 trials" in said
    assert "Pruning was off" in said
    assert "ppo-variants tune --algo clip_ppo" in said
    assert "sb3_ppo_variants 9.8.7, torch 2.99" in said


def test_the_checklist_is_filled_in(tmp_path: Path) -> None:
    plan = study()
    said = text_of(plan, random_trials(plan, 12), candidates(plan, 50.0), tmp_path)
    assert "3: 0, 1000, 2000" in said
    assert "10: 1000000, 1001000, 1002000" in said
    assert "0.05 to 0.4, logarithmic scale" in said
    assert "0.8 to 0.995, 1 − x on a logarithmic scale" in said
    assert "one of 32, 64, none" in said
    assert f"{12 * 3 * 5000:,} steps" in said
    assert '{"clip_range": 0.123456789}' in said  # the incumbent to the last digit
    assert "TPE" in said
    numbers = [line for line in said.splitlines() if line.partition(".")[0].isdigit() and ". " in line]
    assert [int(line.partition(".")[0]) for line in numbers][-19:] == list(range(1, 20))


def test_not_confirmed(tmp_path: Path) -> None:
    plan = study()
    said = text_of(plan, random_trials(plan, 12), candidates(plan, 0.0), tmp_path)
    assert "No tuned setting is shown to beat the documented defaults" in said
    assert "no other setting is confirmed" in said
    before = text_of(plan, random_trials(plan, 12), [], tmp_path)
    assert "Not confirmed yet: nothing has been run on test seeds." in before
    assert "Searched parameters of the best trials, not confirmed" in before


@pytest.mark.parametrize("aggregation", ["normalised", "ranks"])
def test_several_environments(aggregation: str, tmp_path: Path) -> None:
    plan = study(("CartPole-v1", "Acrobot-v1", "Pendulum-v1"), aggregation)
    said = text_of(plan, random_trials(plan, 4), candidates(plan, 30.0), tmp_path)
    assert "Tuning clip_ppo on 3 environments" in said
    assert ("all, normalised" if aggregation == "normalised" else "all, P(better) − ½") in said
    assert "Too few trials: importances take at least 20" in said


@pytest.mark.parametrize("count", [0, 1])
def test_few_or_no_trials(count: int, tmp_path: Path) -> None:
    plan = study()
    said = text_of(plan, random_trials(plan, 1)[:count], [], tmp_path)
    assert ("no history to show" in said) == (count == 0)
    assert "Too few trials" in said


def test_no_finished_trial(tmp_path: Path) -> None:
    plan = study()
    trials = [trial(plan, 0, None, "config: n_steps must be positive"), trial(plan, 1, None, None)]
    said = text_of(plan, trials, [], tmp_path)
    assert "2 of 2 trials failed: 1 config, 1 unknown." in said
    assert "so there are no slices to show" in said


def test_settings_that_are_outside_the_space_do_not_break_it(tmp_path: Path) -> None:
    plan = dataclasses.replace(study(), space=SPACE | {"clip_range": Choice((0.3, 0.4)), "vf_coef": Real(1, 2)})
    trials = [trial(plan, i, 1.0 + i, clip_range=0.3, vf_coef=1.5) for i in range(3)]
    trials[0] = dataclasses.replace(trials[0], values=DEFAULT_VALUES | {"vf_coef": 0.5})
    assert "clip_range" in text_of(plan, trials, [], tmp_path)


def test_importances_are_optunas() -> None:
    plan = study()
    trials = random_trials(plan, 40)
    found = pictures.importances(plan, trials)
    assert found is not None
    assert max(found, key=lambda a: found[a]) == "clip_range"
    assert sum(found.values()) == pytest.approx(1)
    optuna_study = optuna.create_study(direction="maximize")
    for t in trials:
        optuna_study.add_trial(
            optuna.trial.create_trial(
                params={
                    "clip_range": t.values["clip_range"], "n_epochs": t.values["n_epochs"],
                    "lambda": 1 - t.values["gae_lambda"], "ent_coef": t.values["ent_coef"],
                    "batch": t.values["batch_size"],
                },
                distributions={
                    "clip_range": optuna.distributions.FloatDistribution(0.05, 0.4, log=True),
                    "n_epochs": optuna.distributions.IntDistribution(3, 10),
                    "lambda": optuna.distributions.FloatDistribution(1 - 0.995, 1 - 0.8, log=True),
                    "ent_coef": optuna.distributions.FloatDistribution(0.0, 0.05),
                    "batch": optuna.distributions.CategoricalDistribution([32, 64, None]),
                },
                value=t.score,
            )
        )  # fmt: skip
    expected = optuna.importance.get_param_importances(optuna_study)
    assert list(found.values()) == pytest.approx(list(expected.values()))
    assert pictures.importances(plan, trials[:19]) is None
    assert pictures.importances(plan, [dataclasses.replace(t, score=1.0) for t in trials]) is None


def test_history_shows_the_best_so_far_and_the_defaults() -> None:
    plan = study()
    trials = [trial(plan, 0, 5.0), trial(plan, 1, 3.0), trial(plan, 2, 9.0), trial(plan, 3, None, "nan: x")]
    axes = pictures.draw_history(plan, trials).axes[0]
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    assert list(lines["best so far"].get_xdata()) == [0, 1, 2, 3]
    assert list(lines["best so far"].get_ydata()) == [5, 5, 9, 9]
    assert set(lines["documented defaults"].get_ydata()) == {5.0}
    assert list(lines["failed (1)"].get_xdata()) == [3]


@pytest.mark.parametrize("argument", ["clip_range", "n_epochs", "gae_lambda", "ent_coef"])
def test_slices_show_what_is_documented(argument: str) -> None:
    plan = study()
    axes = pictures.draw_slice(plan, random_trials(plan, 12), argument).axes[0]
    documented = next(d for d in DOCUMENTED if d.argument == argument)
    dimension = plan.space[argument]
    shaded = [patch for patch in axes.patches if "documented range" in str(patch.get_label())]
    assert len(shaded) == (documented.low is not None)
    if shaded:
        box = shaded[0].get_extents().transformed(axes.transData.inverted())
        places = dimension.place(documented.low), dimension.place(documented.high)
        assert (box.x0, box.x1) == pytest.approx(places)
    (line,) = [x for x in axes.get_lines() if "documented default" in str(x.get_label())]
    assert list(line.get_xdata()) == pytest.approx([dimension.place(documented.default)] * 2)
    star = next(x for x in axes.get_lines() if x.get_label() == "trial 0")
    assert list(star.get_xdata()) == pytest.approx([dimension.place(DEFAULT_VALUES[argument])])
    offsets = axes.collections[0].get_offsets()
    assert len(offsets) == 12


def test_many_failures_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SHOWN_FAILURES", 2)
    plan = study()
    (path,) = write_report(plan, [trial(plan, i, None, "env: gone") for i in range(5)], [], None, tmp_path)
    assert "The first 2 are shown" in unescape(path.read_text())


def test_a_searched_ratio_is_shown_as_the_argument(tmp_path: Path) -> None:
    """What a table shows under an argument's name can be copied into the constructor."""
    space = {"clip_range": Real(0.05, 0.4, log=True), "clip_range_high": BandRatio(1.0, 3.0)}
    plan = dataclasses.replace(study(), space=space)
    ratios = {0: 1.0, 1: 2.0, 2: 1.0}
    trials = [
        dataclasses.replace(trial(plan, n, 10.0 + n), values={"clip_range": 0.1 * (n + 1), "clip_range_high": ratio})
        for n, ratio in ratios.items()
    ]
    write_tables(plan, trials, [], tmp_path)
    with (tmp_path / "trials.csv").open() as file:
        assert [row["clip_range_high"] for row in csv.DictReader(file)] == ["", "0.4", ""]
    shown = _trials(SimpleNamespace(trials=trials, plan=plan)).body  # type: ignore[arg-type]
    assert {line[0]: line[2:] for line in shown}["1"] == ["0.2", "0.4"]
    assert {line[0]: line[2:] for line in shown}["0 (defaults)"] == ["0.1", "None"]
    settings = plan.arguments(trials[1].values)
    model = ClipPPO("MlpPolicy", "CartPole-v1", **settings)
    assert (model.clip_range(1.0), model.clip_range_high) == (0.2, 0.4)
    (told,) = (text for text in text_of(plan, trials, [], tmp_path).split("Searched parameters")[1:2])
    assert "0.4" in told
    assert "clip_range_high / clip_range" not in told.partition("Everything else")[0]
