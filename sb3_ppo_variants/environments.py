"""The environments that come with this package, by their Gymnasium ids. Each is imported when it is first made."""

import gymnasium

_RUNS = "sb3_ppo_variants.experiments.runs"
_MEMORY = f"{_RUNS}.memory_environments"


def _register(name: str, entry_point: str, **kwargs: str) -> None:
    gymnasium.register(f"sb3_ppo_variants/{name}", entry_point, kwargs=kwargs)


for _name, _version in (("CartPole", "v1"), ("Pendulum", "v1")):
    _original = f"{_name}-{_version}"
    _register(f"{_name}NoVel-{_version}", f"{_MEMORY}:without_velocities", environment=_original)
    _register(f"{_name}NoVelStack-{_version}", f"{_MEMORY}:stacked_without_velocities", environment=_original)
_register("Recall-v0", f"{_MEMORY}:Recall")
_register("RecallStack-v0", f"{_MEMORY}:stacked_recall")
_register("Maze-v0", f"{_RUNS}.masked_environments:Maze")
_register("Packing-v0", f"{_RUNS}.masked_environments:Packing")
_register("Corners-v0", f"{_RUNS}.bounded_environments:Corners")
