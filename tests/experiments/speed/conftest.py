import pytest

from sb3_ppo_variants.experiments.speed import timed_model


@pytest.fixture(autouse=True)
def _short_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested does not depend on their length."""
    monkeypatch.setattr(timed_model, "ROLLOUT_ROWS", 256)
