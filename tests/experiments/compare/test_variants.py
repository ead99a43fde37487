"""Rows of a comparison."""

import pytest

from sb3_ppo_variants.experiments.compare.variants import Contestant, contestants, with_settings
from tests.experiments.mine import MyPPO


def test_names() -> None:
    rows = contestants(
        ["clip_ppo", "narrow=clip_ppo", "mine=tests.experiments.mine:MyPPO", MyPPO],
        {"narrow": {"clip_range": 0.1}},
        normalize={"norm_reward": False},
    )
    assert [(row.name, row.algorithm) for row in rows] == [
        ("clip_ppo", "clip_ppo"),
        ("narrow", "clip_ppo"),
        ("mine", "tests.experiments.mine:MyPPO"),
        ("tests.experiments.mine:MyPPO", "tests.experiments.mine:MyPPO"),
    ]
    assert [dict(row.settings) for row in rows] == [{}, {"clip_range": 0.1}, {}, {}]
    assert all(row.normalize == {"norm_reward": False} for row in rows)
    assert len(contestants(["clip_ppo", "clip_ppo"], {})) == 1


@pytest.mark.parametrize(
    ("algorithms", "settings", "message"),
    [
        (["a=clip_ppo", "a=unclipped_ppo"], {}, "Two rows are called 'a'.*NAME=unclipped_ppo"),
        (["a=clip_pp"], {}, "Unknown algorithm 'clip_pp'.*Did you mean 'clip_ppo'"),
        (["narrow=clip_ppo"], {"clip_ppo": {"clip_range": 0.1}}, "'clip_ppo', which is not in the comparison: narrow"),
        (["narrow=clip_ppo"], {"narow": {}}, "Did you mean 'narrow'"),
    ],
)
def test_refused(algorithms: list[str], settings: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contestants(algorithms, settings)


def test_changed_settings() -> None:
    rows = [Contestant("a", "clip_ppo", {"clip_range": 0.1, "gamma": 0.9}), Contestant("b", "clip_ppo")]
    changed = with_settings(rows, {"a": {"clip_range": 0.3}})
    assert [dict(row.settings) for row in changed] == [{"clip_range": 0.3, "gamma": 0.9}, {}]
    with pytest.raises(ValueError, match="takes no argument 'clip_rnge'"):
        with_settings(rows, {"a": {"clip_rnge": 1}})
