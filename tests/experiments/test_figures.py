"""The figures: what they plot against closed forms, and that they are files."""

from pathlib import Path

import numpy as np
import pytest
import torch as th
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch.distributions import Normal, kl_divergence

from sb3_ppo_variants.experiments import figures

NAMES = ["clipping_objective.png", "trust_region.png", "importance_sampling.png", "surrogates.png"]


def test_objective_by_hand() -> None:
    ratio = np.array([0.5, 1.0, 1.5])
    better = figures.objective_over_ratio(ratio, 1.0, 0.2)
    np.testing.assert_allclose(better.unclipped, [0.5, 1.0, 1.5], rtol=1e-15)
    np.testing.assert_allclose(better.bound, [0.8, 1.0, 1.2], rtol=1e-15)
    np.testing.assert_allclose(better.clipped, [0.5, 1.0, 1.2], rtol=1e-15)  # the smaller of each pair
    assert better.flat.tolist() == [False, False, True]
    worse = figures.objective_over_ratio(ratio, -1.0, 0.2)
    np.testing.assert_allclose(worse.clipped, [-0.8, -1.0, -1.5], rtol=1e-15)
    assert worse.flat.tolist() == [True, False, False]


@pytest.mark.parametrize("advantage", [-1.0, 1.0])
def test_the_objective_is_the_smaller_of_the_two_lines(advantage: float) -> None:
    values = figures.objective_over_ratio(np.linspace(0.01, 2, 200), advantage, 0.2)
    smaller = np.where(values.unclipped < values.bound, values.unclipped, values.bound)
    np.testing.assert_allclose(values.clipped, smaller, rtol=1e-14)
    np.testing.assert_allclose(values.clipped[values.flat], values.bound[values.flat], rtol=1e-14)
    np.testing.assert_allclose(values.clipped[~values.flat], values.unclipped[~values.flat], rtol=1e-14)


def test_values_and_slopes_by_hand() -> None:
    found = figures.values_and_slopes(np.array([1.0, 1.5]), 1.0)
    by_hand = {
        "r·A (UnclippedPPO)": (1.5, 1.5),
        "clip (ClipPPO)": (1.2, 0.0),
        "soft clip, δ = 0.2": (1.3, 0.0),  # 1.2 + 0.2/2, from 1.4 on
        "rollback, α = 0.3": (1.11, -0.45),  # −0.3·1.5 + 1.3·1.2
        "SPO": (0.875, -2.25),  # 1.5 − 0.5²/0.4; 1.5·(1 − 0.5/0.2)
        "discovered, α = 2, β = 0.6": (1 + 2 * np.tanh(0.25), 1.5 * (1 - np.tanh(0.25) ** 2)),
        "scopic, τ = 4": (1 + np.tanh(1) / 2, 1.5 * (1 - np.tanh(1) ** 2)),
    }
    assert list(found) == list(by_hand)
    for label, (value, slope) in found.items():
        np.testing.assert_allclose((value[1], slope[1]), by_hand[label], rtol=1e-13, atol=1e-15, err_msg=label)
        np.testing.assert_array_equal((value[0], slope[0]), (1.0, 1.0))  # all agree to first order at r = 1


@pytest.mark.parametrize(("old_mean", "std", "delta"), [(0.0, 1.0, 0.05), (-2.0, 0.3, 0.01), (1.0, 2.0, 8.0)])
def test_allowed_means_are_the_closed_forms(old_mean: float, std: float, delta: float) -> None:
    # (μ − μ_old)²/2σ² = δ
    reach = std * (2 * delta) ** 0.5
    assert figures.kl_allowed_means(old_mean, std, delta) == pytest.approx(
        (old_mean - reach, old_mean + reach), rel=1e-9
    )


def test_kl_is_torchs() -> None:
    means, stds = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(0.5, 2, 4))
    expected = kl_divergence(Normal(th.tensor(0.2), th.tensor(0.7)), Normal(th.tensor(means), th.tensor(stds)))
    np.testing.assert_allclose(figures.gaussian_kl(0.2, 0.7, means, stds), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize(("old_mean", "mean", "std"), [(0.0, 0.3, 1.0), (0.5, -0.2, 0.4)])
def test_at_the_bands_edges_the_ratio_is_the_bound(old_mean: float, mean: float, std: float) -> None:
    low, high = figures.ratio_band_edges(old_mean, mean, std, 0.2)
    assert low < high
    edges = th.tensor([low, (low + high) / 2, high], dtype=th.float64)
    ratio = (Normal(mean, std).log_prob(edges) - Normal(old_mean, std).log_prob(edges)).exp()
    # Where the mean moved down, low actions are the ones that became likelier.
    expected = [0.8, 1.2] if mean > old_mean else [1.2, 0.8]
    assert ratio[[0, 2]].tolist() == pytest.approx(expected, rel=1e-6)
    assert 0.8 < ratio[1].item() < 1.2


class TestImportanceSampling:
    distances = np.array([0.0, 0.25, 0.5, 0.75])

    def test_on_the_same_policy_nothing_is_lost(self) -> None:
        summary = figures.importance_weights_summary([0.0], 100, 3, seed=1)
        np.testing.assert_allclose(summary.ess, 1.0, rtol=1e-14)
        actions = np.random.default_rng(1).normal(size=(1, 3, 100))
        np.testing.assert_allclose(summary.estimate, actions.mean(-1), rtol=1e-12)

    def test_shapes_and_bounds(self) -> None:
        summary = figures.importance_weights_summary([0.0, 1.0, 5.0], 50, 4, seed=0)
        assert summary.estimate.shape == summary.ess.shape == (3, 4)
        assert np.all(summary.ess >= 1 / 50)
        assert np.all(summary.ess <= 1 + 1e-12)

    def test_the_seed_fixes_it(self) -> None:
        first, again, other = (figures.importance_weights_summary([0.5], 20, 2, seed=seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.estimate, again.estimate)
        assert not np.array_equal(first.estimate, other.estimate)

    def test_unbiased_with_the_exact_standard_error(self) -> None:
        n_samples, n_estimates = 1000, 400
        estimate = figures.importance_weights_summary(self.distances, n_samples, n_estimates, seed=0).estimate
        error = figures.exact_standard_error(self.distances, n_samples)
        assert np.all(np.abs(estimate.mean(-1) - self.distances) < 5 * error / n_estimates**0.5)
        # A standard deviation from 400 draws is known to 1/√800 = 3.5 %; heavy tails make it a little worse.
        np.testing.assert_allclose(estimate.std(-1), error, rtol=0.2)

    def test_exact_standard_error_by_hand(self) -> None:
        # d = 0: √(1/N), the plain mean's. d = 1: √((e·5 − 1)/N) = √(12.591409/100) = 0.354844
        np.testing.assert_allclose(figures.exact_standard_error(np.array([0.0, 1.0]), 100), [0.1, 0.354844], atol=1e-6)

    def test_effective_sample_size_tends_to_its_limit(self) -> None:
        ess = figures.importance_weights_summary(self.distances, 20_000, 5, seed=0).ess
        np.testing.assert_allclose(ess.mean(-1), figures.exact_ess(self.distances), rtol=0.02)
        # E[w]²/E[w²] = e^(−d²): at d = 1 that is 0.367879.
        assert figures.exact_ess(np.array([1.0])).item() == pytest.approx(0.367879, abs=1e-6)

    def test_it_falls_apart(self) -> None:
        ess = figures.importance_weights_summary([0.1, 1.0, 3.0], 1000, 20, seed=0).ess.mean(-1)
        assert ess[0] > 0.98
        assert ess[1] < 0.5
        assert ess[2] < 0.05


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return figures.draw_figures(tmp_path_factory.mktemp("figures") / "made" / "here")


def test_files(drawn: list[Path]) -> None:
    assert [path.name for path in drawn] == NAMES
    for path in drawn:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) > 10_000
        # The header's width: enough for a README's 900 pixels.
        assert int.from_bytes(content[16:20], "big") >= 900
    # Nothing half-written is left beside them.
    assert sorted(path.name for path in drawn[0].parent.iterdir()) == sorted(NAMES)


def test_drawn_again_they_are_the_same_and_pyplot_knows_of_none(drawn: list[Path], tmp_path: Path) -> None:
    # pyplot would keep every figure alive.
    before = pyplot.get_fignums()
    for first, again in zip(drawn, figures.draw_figures(tmp_path), strict=True):
        assert first.read_bytes() == again.read_bytes()
    assert pyplot.get_fignums() == before


def test_a_failure_leaves_the_old_file(drawn: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / NAMES[0]
    old.write_bytes(b"old")

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", fail)
    with pytest.raises(OSError, match="no space"):
        figures.draw_figures(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[0]]
    assert old.read_bytes() == b"old"
