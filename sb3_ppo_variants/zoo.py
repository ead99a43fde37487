"""rl_zoo3 with our algorithms: registration, and rl_zoo3's own scripts run in this process.

The only module that imports rl_zoo3, whose import changes gymnasium for the whole process: it replaces ``TimeLimit``
and registers environments. So nothing else here imports this module.

rl_zoo3's scripts read ``sys.argv`` and offer no other entry, so :func:`run` replaces some names while a script runs:

- ``sys.argv``, by the script's arguments;
- the script's ``ExperimentManager``, by :class:`OurExperimentManager`;
- the callbacks that evaluate, and the models that scripts play, by ones that know action masks;
- ``subprocess.call``, with which record_training starts its other scripts: they must know our algorithms too;
- ``pyplot.show`` where there is no display: figures are written to files.
"""

import contextlib
import functools
import importlib
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
from stable_baselines3.common.vec_env import VecEnv

import sb3_ppo_variants.environments  # noqa: F401
from sb3_ppo_variants.experiments.runs.playing import EvaluatesWithMasks, with_masks
from sb3_ppo_variants.experiments.runs.registry import OURS, algorithm_class, did_you_mean
from sb3_ppo_variants.experiments.runs.settings import full_settings
from sb3_ppo_variants.experiments.search_space.dimensions import Choice, Dimension
from sb3_ppo_variants.experiments.search_space.spaces import RANGES, default_space, settings_of
from sb3_ppo_variants.files import atomic, safe_name

REMEDY = "pip install 'sb3_ppo_variants[zoo]'"
EXTRA = ("moviepy", "requests", "rl_zoo3", "seaborn")  # what that installs

try:
    from rl_zoo3 import exp_manager, utils
    from rl_zoo3.callbacks import TrialEvalCallback
    from rl_zoo3.exp_manager import ExperimentManager
    from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
    from rl_zoo3.utils import ALGOS
except ModuleNotFoundError as missing:
    package = (missing.name or "rl_zoo3").partition(".")[0]
    raise ModuleNotFoundError(f"The zoo needs {package}, which is not installed: {REMEDY}") from missing

# The very table, to be filled: rl_zoo3's type is that of the functions it has in there.
_SAMPLERS: dict[str, Any] = HYPERPARAMS_SAMPLER

#: What ``ppo-variants zoo`` runs: a module of rl_zoo3 and its function, or the module itself where it is a script.
SCRIPTS: Mapping[str, tuple[str, str | None]] = {
    "train": ("rl_zoo3.train", "train"),
    "enjoy": ("rl_zoo3.enjoy", "enjoy"),
    "record_video": ("rl_zoo3.record_video", None),
    "record_training": ("rl_zoo3.record_training", None),
    "plots": ("rl_zoo3.plots.all_plots", "all_plots"),
    "all_plots": ("rl_zoo3.plots.all_plots", "all_plots"),
    "plot_train": ("rl_zoo3.plots.plot_train", "plot_train"),
    "plot_from_file": ("rl_zoo3.plots.plot_from_file", "plot_from_file"),
    "load_from_hub": ("rl_zoo3.load_from_hub", None),
    "push_to_hub": ("rl_zoo3.push_to_hub", None),
}


def config_file(algorithm: str) -> Path:
    """Our rl_zoo3 configuration of an algorithm: in the installed package, or in the repository beside it.

    :param algorithm: Zoo id
    :raises ValueError: when there is none
    """
    package = Path(__file__).parent
    # In an installed wheel the folder lies inside the package, in a checkout beside it.
    candidates = [folder / "zoo_configs" / f"{algorithm}.yml" for folder in (package, package.parent)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise ValueError(f"There is no configuration of {algorithm!r} at {candidates[0]}: give one with -conf FILE")
    return found


def register() -> None:
    """Enter our algorithms into rl_zoo3's tables, for a script that calls rl_zoo3's functions itself.

    The tables are changed, not replaced: rl_zoo3's modules hold references to them. ``-conf`` is then up to the
    script (see :func:`config_file`).
    """
    for name in OURS:
        ALGOS[name] = algorithm_class(name)
        _SAMPLERS[name] = _sampler(name, {})
        HYPERPARAMS_CONVERTER[name] = functools.partial(convert, name)


def run(script: str, arguments: Sequence[str]) -> None:
    """Run one of rl_zoo3's scripts in this process, with our algorithms registered.

    :param script: A key of :data:`SCRIPTS`
    :param arguments: Its command line
    :raises ValueError: when there is no such script, or rl_zoo3 rejects what it was given
    :raises ImportError: when something that the script needs is missing or does not work
    """
    if script not in SCRIPTS:
        raise ValueError(f"rl_zoo3 has no script {script!r}: {', '.join(SCRIPTS)}.{did_you_mean(script, SCRIPTS)}")
    if script == "record_training" and shutil.which("ffmpeg") is None:
        raise ValueError("record_training joins videos with ffmpeg, which is not on the PATH; record_video needs none")
    module_name, function = SCRIPTS[script]
    register()
    with (
        mock.patch.object(sys, "argv", [f"ppo-variants zoo {script}", *arguments]),
        mock.patch.object(subprocess, "call", _call_with_our_algorithms),
        _masks_passed(script),
        _figures_kept(),
        _clear_errors(script, arguments),
    ):
        if function is None:
            runpy.run_module(module_name, run_name="__main__")
            return
        _hide_broken_rliable()
        importlib.import_module(module_name)
        module = sys.modules[module_name]  # rl_zoo3.plots gives functions the names of their modules
        with mock.patch.object(module, "ExperimentManager", OurExperimentManager, create=True):
            getattr(module, function)()


# ---- Hyperparameters ----


def sample(algorithm: str, trial: optuna.Trial, settings: Mapping[str, Any], n_envs: int) -> dict[str, Any]:
    """What the constructor is given in one trial of ``-optimize``, from the search space of our tuning studies.

    :param algorithm: Zoo id
    :param trial: Optuna's trial
    :param settings: The configuration that the trial starts from; an argument is only searched where its value there
        lies in the range (a schedule stays as it is)
    :param n_envs: Environments stepped together, for the batch sizes
    :return: Constructor argument → value
    """
    space = default_space(algorithm, settings, n_envs)
    if "clip_range" not in space:
        space.pop("clip_range_high", None)  # a multiple of clip_range, which a later --trial-id would not know
    values = {a: d.suggest(trial, a) for a, d in space.items()}
    chosen = settings_of(space, values, full_settings(algorithm, settings))
    for argument, value in chosen.items():
        trial.set_user_attr(argument, value)  # for readers: Optuna's parameter may be 1 - gamma
    return chosen


def convert(algorithm: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What the constructor was given in a trial, from Optuna's parameters (``--trial-id``).

    :param algorithm: Zoo id
    :param parameters: The trial's parameters
    :return: Constructor argument → value
    :raises ValueError: when a parameter is not in the algorithm's search space
    """
    dimensions: Mapping[str, Dimension] = {**RANGES, "batch_size": Choice((parameters.get("batch_size"),))}
    argument_of = {d.parameter_name(argument): argument for argument, d in dimensions.items()}
    if unknown := [name for name in parameters if name not in argument_of]:
        raise ValueError(
            f"The trial has a parameter {unknown[0]!r}, which is not in the search space of {algorithm} "
            f"({', '.join(argument_of)}): it belongs to a study of another algorithm, or with a space of its own"
        )
    space = {argument_of[name]: dimensions[argument_of[name]] for name in parameters}
    values = {argument_of[name]: space[argument_of[name]].value(value) for name, value in parameters.items()}
    return settings_of(space, values, full_settings(algorithm, {}))


def _sampler(algorithm: str, settings: Mapping[str, Any]) -> Callable[[optuna.Trial, int, int, Any], dict[str, Any]]:
    """A sampler in rl_zoo3's form, which is not told the configuration."""
    return lambda trial, _n_actions, n_envs, _additional_args: sample(algorithm, trial, settings, n_envs)


# ---- rl_zoo3's training ----


class _Number(int):
    """A trial's number that is true even when it is 0: rl_zoo3 tests ``if trial_id``."""

    def __bool__(self) -> bool:
        return True


class OurExperimentManager(ExperimentManager):
    """rl_zoo3's manager; finds our configurations, samples around them, and accepts trial 0."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.algo in OURS and kwargs.get("config") is None:
            self.config = str(config_file(self.algo))
        if self.trial_id is not None:
            if not (self.storage and self.study_name):
                raise ValueError(f"--trial-id {self.trial_id} needs --storage and --study-name, to know of which study")
            self.trial_id = _Number(self.trial_id)

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """As in rl_zoo3; also tells our samplers the configuration."""
        hyperparams, saved = super().read_hyperparameters()
        if self.algo in OURS:
            # A copy of what the file says: rl_zoo3 turns its own into schedule objects.
            _SAMPLERS[self.algo] = _sampler(self.algo, dict(saved))
        return hyperparams, saved

    @staticmethod
    def _preprocess_schedules(hyperparams: dict[str, Any]) -> dict[str, Any]:
        """As in rl_zoo3, which would take the learning rate ``"kl_0.01"`` for a linear decay."""
        rate = hyperparams.get("learning_rate")
        if not (isinstance(rate, str) and rate.startswith("kl_")):
            return dict(ExperimentManager._preprocess_schedules(hyperparams))
        others = {name: value for name, value in hyperparams.items() if name != "learning_rate"}
        return {**ExperimentManager._preprocess_schedules(others), "learning_rate": rate}

    def load_trial(
        self, storage: str, study_name: str, trial_id: int | None = None, convert: bool = True
    ) -> dict[str, Any]:
        """As in rl_zoo3, with errors that say what is missing.

        :raises ValueError: when there is no such study or trial
        """
        try:
            return super().load_trial(storage, study_name, trial_id, convert)
        except (KeyError, IndexError) as error:
            raise ValueError(f"There is no trial {trial_id} in study {study_name!r} of {storage}") from error


# ---- Action masks, which rl_zoo3 never passes ----


class _TrialsWithMasks(TrialEvalCallback, EvaluatesWithMasks):
    """rl_zoo3's evaluations of a trial, also for models with action masks."""


class _ForPlaying:
    """Stands in rl_zoo3's table for one of our algorithms: loads a model that plays the script's environments.

    :param algorithm: Zoo id
    :param envs: The environments that the script has made
    """

    def __init__(self, algorithm: str, envs: list[VecEnv]):
        self.algorithm, self.envs = algorithm, envs

    def load(self, *args: Any, **kwargs: Any) -> Any:
        model: Any = algorithm_class(self.algorithm).load(*args, **kwargs)
        return with_masks(model, self.envs[-1])


@contextlib.contextmanager
def _masks_passed(script: str) -> Iterator[None]:
    """While a script runs, its evaluations and the models that it plays get masks where they take them.

    :param script: A key of :data:`SCRIPTS`
    """
    envs: list[VecEnv] = []
    make = utils.create_test_env

    def make_and_note(*args: Any, **kwargs: Any) -> VecEnv:
        envs.append(make(*args, **kwargs))
        return envs[-1]

    playing = {name: _ForPlaying(name, envs) for name in OURS} if script in ("enjoy", "record_video") else {}
    with (
        mock.patch.object(exp_manager, "EvalCallback", EvaluatesWithMasks),
        mock.patch.object(exp_manager, "TrialEvalCallback", _TrialsWithMasks),
        mock.patch.object(utils, "create_test_env", make_and_note),
        mock.patch.dict(ALGOS, playing),
    ):
        if script == "enjoy":
            enjoy = importlib.import_module("rl_zoo3.enjoy")
            with mock.patch.object(enjoy, "create_test_env", make_and_note):
                yield
            return
        yield


# ---- What rl_zoo3 leaves to its user ----


@contextlib.contextmanager
def _clear_errors(script: str, arguments: Sequence[str]) -> Iterator[None]:
    """Turn what rl_zoo3 raises for a user's mistake, or for a missing part, into one line with the remedy.

    rl_zoo3 raises few exceptions of its own; which script runs and what it was asked for tell the cases apart.
    """
    try:
        yield
    except AssertionError as error:  # how rl_zoo3 checks what a user gave: a folder that is not there, and the like
        if not str(error):
            raise
        raise ValueError(str(error)) from error
    except RuntimeError as error:
        if not {"-latex", "--latex"}.intersection(arguments):
            raise
        raise ValueError(
            f"-latex needs a working LaTeX with dvipng: install one, or leave -latex out ({error})"
        ) from error
    except ValueError as error:
        if script != "plot_from_file":
            raise
        raise ValueError(
            f"plot_from_file cannot plot this file: {error}. It leaves out what has one run: give all_plots two runs "
            "or more of each algorithm"
        ) from error
    except ImportError as error:
        if error.name is None:  # raised by rl_zoo3, not by an import
            if script == "plot_from_file" and {"-r", "--rliable"}.intersection(arguments):
                raise ImportError(
                    f"rl_zoo3's {script} --rliable needs rliable, which is not installed or does not work with the "
                    "installed pandas: ppo-variants compare computes the same statistics without it"
                ) from error
            raise
        remedy = f"it needs another version of {error.name}"
        if isinstance(error, ModuleNotFoundError):
            remedy = REMEDY if error.name in EXTRA else "install it, or mend the name if you have given it"
        raise ImportError(f"rl_zoo3's {script} does not run here: {error}; {remedy}") from error


def _hide_broken_rliable() -> None:
    """With pandas 3, importing rliable fails with an AttributeError; rl_zoo3 only handles an ImportError."""
    try:
        importlib.import_module("rliable.library")
    except Exception:  # whatever fails in there
        sys.modules["rliable"] = None  # type: ignore[assignment]  # importing it is an ImportError from now on


def _call_with_our_algorithms(command: Sequence[str], **kwargs: Any) -> int:
    """``subprocess.call`` for rl_zoo3's record_training: its other scripts run through ours."""
    if list(command[:2]) == ["python", "-m"] and command[2].startswith("rl_zoo3."):
        script = command[2].removeprefix("rl_zoo3.")
        command = [sys.executable, "-m", "sb3_ppo_variants", "zoo", script, *command[3:]]
    with subprocess.Popen(command, **kwargs) as process:
        return process.wait()


@contextlib.contextmanager
def _figures_kept() -> Iterator[None]:
    """Without a display, write the figures that rl_zoo3 would show into this folder and print their paths."""
    import matplotlib
    from matplotlib import pyplot
    from matplotlib.backends.registry import BackendFilter, backend_registry

    if matplotlib.get_backend().lower() in map(str.lower, backend_registry.list_builtin(BackendFilter.INTERACTIVE)):
        yield
        return

    def keep(*_args: Any, **_kwargs: Any) -> None:
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            path = Path(f"{safe_name(str(figure.get_label()) or f'figure-{number}')}.png")
            with atomic(path) as temporary:
                figure.savefig(temporary)
            sys.stderr.write(f"written: {path} (there is no display to show it on)\n")

    with mock.patch.object(pyplot, "show", keep):
        yield
