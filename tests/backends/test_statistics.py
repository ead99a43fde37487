"""What an update tells the logger, by hand."""

import numpy as np
import pytest

from sb3_ppo_variants import TRPO
from sb3_ppo_variants.backends.statistics import UpdateStatistics
from tests.algorithms.models import make


def test_by_hand() -> None:
    """Two epochs of two minibatches with 2 and 1 rows, and a band from 0.9 to 1.2."""
    ratio = np.array([0.5, 1.1, 1.5, 0.8, 2.0, 1.0], np.float32)
    per_minibatch = np.arange(1.0, 5.0, dtype=np.float32)
    found = UpdateStatistics(
        ratio=ratio,
        sizes=np.array([2, 1, 2, 1]),
        epoch_starts=[0, 2],
        approx_kl=per_minibatch,
        policy_loss=10 * per_minibatch,
        entropy_loss=-per_minibatch,
        value_loss=None,
        loss=per_minibatch / 2,
        grad_norms=np.array([3.0, 5.0]),
        band=(0.1, 0.2),
    ).summary()
    last = np.array([0.8, 2.0, 1.0])
    expected = {
        "entropy_loss": -2.5,
        "policy_gradient_loss": 25.0,
        "approx_kl": 3.5,  # of the last epoch
        "loss": 2.0,
        "ratio_max": 2.0,
        "ess": last.sum() ** 2 / (3 * (last**2).sum()),
        "epochs": 2,
        "grad_norm": 4.0,
        # Of each minibatch: 0.5 below; 1.5 above; one of two each; none.
        "clip_fraction_low": (1 / 2 + 0 + 1 / 2 + 0) / 4,
        "clip_fraction_high": (0 + 1 + 1 / 2 + 0) / 4,
        "clip_fraction": (1 / 2 + 1 + 1 + 0) / 4,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name


def test_trpos_ratios() -> None:
    model = make(TRPO, target_kl=0.1).learn(64)
    log = model.logger.name_to_value
    ratios = np.concatenate(
        [
            np.exp(
                model.policy.evaluate_actions(rows.observations, rows.actions)[1].detach().numpy()
                - rows.old_log_prob.numpy()
            )
            for rows in model.rollout_buffer.get(None)
        ]
    )
    assert ratios.max() > 1.1
    assert log["train/ratio_max"] == pytest.approx(ratios.max(), rel=1e-4)
    assert log["train/ess"] == pytest.approx(ratios.sum() ** 2 / (len(ratios) * (ratios**2).sum()), rel=1e-4)
