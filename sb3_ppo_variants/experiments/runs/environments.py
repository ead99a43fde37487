"""Environments by name: a Gymnasium id, or the import path of a class or function that creates one."""

import contextlib
import difflib
import importlib
import importlib.util
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecNormalize

import sb3_ppo_variants.environments  # noqa: F401
from sb3_ppo_variants.checks import integer, optional
from sb3_ppo_variants.experiments.runs.registry import did_you_mean, import_user_module
from sb3_ppo_variants.resume import NewWorldEachEpisode, ResumableEnv
from sb3_ppo_variants.resume.box2d import is_walker
from sb3_ppo_variants.workers import WorkerVecEnv

#: ``--normalize``: what SB3's ``VecNormalize`` scales by its running statistics.
NORMALIZE: Mapping[str, dict[str, Any]] = {
    "observations": {"norm_obs": True, "norm_reward": False},
    "rewards": {"norm_obs": False, "norm_reward": True},
    "both": {"norm_obs": True, "norm_reward": True},
}

#: Ids that can only be Atari games: ``ALE/Pong-v5``, ``PongNoFrameskip-v4``. (Any package could register ``Pong-v4``.)
ATARI = re.compile(r"^ALE/|NoFrameskip-v\d$")

#: Extra of this package → the module that it installs, and where the environments that need it are.
EXTRAS = {
    "mujoco": ("mujoco", "gymnasium.envs.mujoco"),
    "box2d": ("Box2D", "gymnasium.envs.box2d"),
    "atari": ("ale_py", "ale_py"),
}


def normalization(chosen: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Arguments of ``VecNormalize``.

    :param chosen: A key of :data:`NORMALIZE`, the arguments themselves, or ``None`` for no normalisation
    :raises ValueError: for any other key
    """
    if isinstance(chosen, str):
        if chosen not in NORMALIZE:
            raise ValueError(f"normalize is {chosen!r}: choose {', '.join(NORMALIZE)}, or leave it out")
        chosen = NORMALIZE[chosen]
    return None if chosen is None else dict(chosen)


def maker(environment: str) -> str | Callable[[], gymnasium.Env]:
    """The argument of SB3's ``make_vec_env``: the Gymnasium id, or the object at an import path.

    ``package.module:Class`` is a class or function without required arguments. ``package.module:Name-v0`` is
    Gymnasium's form: an id that is registered when the module is imported.

    :param environment: Name of the environment
    :raises ValueError: if what is at the import path is no class or function
    """
    module, colon, attribute = environment.partition(":")
    if not colon:
        _register_atari_for(environment)
        return environment
    imported = import_user_module(module)
    if not attribute.isidentifier():
        return environment
    found = getattr(imported, attribute, None)
    if found is None:
        # Perhaps an id without a version.
        if not any(_is_called(spec, attribute) for spec in gymnasium.registry.values()):
            own = [name for name in vars(imported) if not name.startswith("_")]
            raise ValueError(f"Module {module} has no {attribute!r}.{did_you_mean(attribute, own)}")
        return environment
    if not callable(found):
        raise ValueError(f"{environment!r} is {found!r}: give a class or function that creates an environment")
    make: Callable[[], gymnasium.Env] = found
    return make


def make_environment(
    environment: str,
    n_envs: int,
    seed: int,
    normalize: Mapping[str, Any] | None = None,
    *,
    wrapper: Callable[[gymnasium.Env], gymnasium.Env] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    resumable: bool = False,
    vec_env: str | None = None,
    rollout_workers: int | None = None,
) -> VecEnv:
    """Create environments, each within SB3's Monitor, which records returns before normalisation.

    A BipedalWalker gets a new world in each episode, with and without checkpoints, so that its run is the same with
    both and can be resumed.

    :param environment: Gymnasium id or import path (see :func:`maker`)
    :param n_envs: Number of environments
    :param seed: Seed; environment i gets ``seed + i``
    :param normalize: Arguments of ``VecNormalize`` around them; ``None``: not normalised
    :param wrapper: Wrapper of each environment, outside the Monitor
    :param env_kwargs: Arguments of each environment's constructor
    :param resumable: Track each environment from its first reset on, for checkpoints
    :param vec_env: ``"WorkerVecEnv"``, ``"SubprocVecEnv"``, or ``None`` for ``DummyVecEnv``
    :param rollout_workers: Number of workers of a ``WorkerVecEnv``; ``None``: one per usable core
    :return: The vectorised environment
    """
    set_random_seed(seed)  # some environments draw from the global generators when they are created
    made, kwargs = maker(environment), dict(env_kwargs or {})

    def wrapped(env: gymnasium.Env) -> gymnasium.Env:
        env = NewWorldEachEpisode(env) if is_walker(env) else env
        return env if wrapper is None else wrapper(env)

    def another() -> gymnasium.Env:
        made_anew: Any = make_vec_env(made, wrapper_class=wrapped, env_kwargs=kwargs)
        return made_anew.envs[0]

    def tracked(env: gymnasium.Env) -> gymnasium.Env:
        # Gymnasium can create a registered environment again, without a renderer.
        return ResumableEnv(wrapped(env), make=None if isinstance(made, str) else another)

    def in_processes(env_fns: list[Callable[[], gymnasium.Env]]) -> VecEnv:
        makers: list[Any] = [partial(_make_in_worker, environment, seed + i, make) for i, make in enumerate(env_fns)]
        return SubprocVecEnv(makers) if vec_env == "SubprocVecEnv" else WorkerVecEnv(makers, rollout_workers)

    env = make_vec_env(
        made,
        n_envs=n_envs,
        seed=seed,
        wrapper_class=tracked if resumable else wrapped,
        env_kwargs=kwargs,
        vec_env_cls=None if vec_env is None else in_processes,  # type: ignore[arg-type]  # SB3 only calls it
    )
    return env if normalize is None else VecNormalize(env, **normalize)


def _make_in_worker(environment: str, seed: int, make: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    """Create an environment in a worker process, where nothing may have registered it yet.

    :param environment: Its name
    :param seed: Its seed: the workers' global generators are not the run's
    :param make: Creates it
    """
    maker(environment)
    set_random_seed(seed)
    return make()


def vec_env_name(rollout_workers: int | None) -> str | None:
    """The class of a run's vectorised environment, as the run's identity has it.

    Rollout workers draw other action noise than the ordinary loop, so the identity says that there are some. It does
    not say how many: the results are equal to the bit for any number.

    :param rollout_workers: Number of rollout workers; ``None``: the run steps its environments itself
    :return: ``"WorkerVecEnv"``; ``None`` for SB3's ``DummyVecEnv``
    :raises TypeError: if the number is not an integer
    :raises ValueError: if it is not positive
    """
    optional(integer(at_least=1, hint="Leave it out to collect without workers."))("rollout_workers", rollout_workers)
    return None if rollout_workers is None else WorkerVecEnv.__name__


def is_atari(environment: str) -> bool:
    """Whether an environment is an Atari game of ale-py.

    :param environment: Gymnasium id or import path (see :func:`maker`)
    """
    _register_atari_for(environment)
    spec = gymnasium.registry.get(environment)
    return spec is not None and "AtariEnv" in str(spec.entry_point)


def _register_atari_for(environment: str) -> None:
    """Register ale-py's Atari games with Gymnasium if it does not know the environment."""
    if environment not in gymnasium.registry:
        # Without ale-py, check_environment says what is missing.
        with contextlib.suppress(ImportError):
            gymnasium.register_envs(importlib.import_module("ale_py"))


def check_environment(environment: str) -> None:
    """Create an environment once: a wrong name then gives one clear error instead of one failed run per seed.

    :param environment: Gymnasium id or import path (see :func:`maker`)
    :raises ValueError: if the environment cannot be created
    """
    try:
        made = maker(environment)
        env = gymnasium.make(made) if isinstance(made, str) else made()
    except (Exception, SystemExit) as error:  # one's own environment may raise any
        raise ValueError(f"Cannot make the environment {environment!r}: {_explained(environment, error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise ValueError(f"{environment!r} makes {env!r}, which is not a gymnasium.Env")
    close(env)


def close(env: gymnasium.Env | VecEnv) -> None:
    """Close environments. What they raise then neither costs a finished training nor hides why another one failed.

    :param env: The environments
    """
    try:
        env.close()
    except (Exception, SystemExit) as error:
        warnings.warn(f"The environments could not be closed ({type(error).__name__}: {error})", stacklevel=2)


@contextlib.contextmanager
def closing(env: VecEnv) -> Iterator[VecEnv]:
    """Environments that are closed after a ``with`` block (see :func:`close`).

    :param env: The environments
    """
    try:
        yield env
    finally:
        close(env)


def _explained(environment: str, error: BaseException) -> str:
    """An error of making an environment, with the remedy if there is one."""
    if extra := _missing_extra(environment):
        return f"{error}. {environment} needs pip install 'sb3_ppo_variants[{extra}]'"
    if isinstance(error, gymnasium.error.NameNotFound | gymnasium.error.NamespaceNotFound):
        # Not Gymnasium's own text, which may suggest an unrelated environment.
        return (
            f"no such environment is registered.{_similar(environment)} If a package registers it when it is imported, "
            f"write package:{environment}; your own class is written package.module:Class"
        )
    if isinstance(error, ModuleNotFoundError) and ":" in environment:
        return f"{error}: install it, or run this in the folder that holds it"
    if isinstance(error, gymnasium.error.Error | ImportError | TypeError | ValueError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _missing_extra(environment: str) -> str | None:
    """The extra of this package that an environment needs, if what it installs is missing."""
    entry_points = [str(spec.entry_point) for spec in gymnasium.registry.values() if _is_called(spec, environment)]
    for extra, (module, entry_point) in EXTRAS.items():
        known = any(entry_point in one for one in entry_points) or (extra == "atari" and ATARI.search(environment))
        if known and importlib.util.find_spec(module) is None:
            return extra
    return None


def _is_called(spec: EnvSpec, environment: str) -> bool:
    # Without its version, an id means the newest one.
    return environment in (spec.id, spec.name)


def _similar(environment: str) -> str:
    """A suggestion, only if the names without versions are nearly the same."""
    # Of equal names the last counts: one without a namespace, of the newest version.
    specs = sorted(gymnasium.registry.values(), key=lambda spec: spec.namespace is None)
    namespace, slash, name = environment.casefold().rpartition("/")
    names = {s.name.casefold(): s.id for s in specs if not slash or namespace == (s.namespace or "").casefold()}
    near = difflib.get_close_matches(re.sub(r"-v\d+$", "", name), names, n=1, cutoff=0.8)
    return f" Did you mean {names[near[0]]!r}?" if near else ""
