"""Confirmed settings as entries of an rl_zoo3 configuration file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sb3_ppo_variants.experiments.reporting.tables import percent
from sb3_ppo_variants.experiments.runs.classes import in_python, in_rl_zoo3
from sb3_ppo_variants.experiments.runs.environments import make_environment
from sb3_ppo_variants.experiments.runs.registry import algorithm_class
from sb3_ppo_variants.experiments.runs.run import policy_name
from sb3_ppo_variants.experiments.tuning.differences import Difference
from sb3_ppo_variants.experiments.tuning.plan import StudyPlan
from sb3_ppo_variants.experiments.tuning.trials import Candidate
from sb3_ppo_variants.experiments.tuning.verdict import amount
from sb3_ppo_variants.files import atomic, safe_name

# What an entry has besides the constructor's arguments, in the order of rl_zoo3's own files.
OWN_KEYS = ("n_envs", "n_timesteps", "policy")
# Comments above an entry that say where it is from. They are replaced with the entry; any other comment is the user's.
MARK = "# tuned: "
PAPERS = ("# Paper: ", "# Paper's settings")
ORIGINS = (MARK, "# Documented defaults", *PAPERS)


def write_winner(
    plan: StudyPlan, winner: Candidate, lines: Sequence[Difference], study: str, zoo_configs: Path
) -> tuple[list[Path], list[str]]:
    """Write a confirmed setting as an entry for each environment in which it is shown to be better.

    The paper's own settings stay where a file has them. A file that cannot take an entry is named and left as it is.

    :param plan: The study
    :param winner: The confirmed setting
    :param lines: Its difference to the defaults in each environment
    :param study: Name of the study
    :param zoo_configs: The folder
    :return: The files; and for each environment without an entry, why it has none
    """
    files, without = [], []
    for line in lines:
        environment = str(line.environment)
        try:
            if not line.better:
                why = f"{winner.name} is not shown to be better there"
            elif is_papers(plan.algorithm, environment, zoo_configs):
                why = f"the paper's settings stand in {zoo_configs}"
            else:
                files.append(_write_line(plan, winner, line, study, zoo_configs))
                continue
        except (ValueError, OSError) as error:
            why = str(error)
        without.append(f"No entry for {environment}: {why}")
    return list(dict.fromkeys(files)), without


def to_copy(plan: StudyPlan, settings: Mapping[str, Any], lines: Sequence[Difference]) -> tuple[str, str]:
    """Settings in the forms in which people use them, for the first environment in which they are shown to be better.

    :param plan: The study
    :param settings: What the constructor is given
    :param lines: Their difference to the defaults in each environment
    :return: A line of Python, and an entry of an rl_zoo3 configuration file, or why there can be none
    """
    better = next((str(line.environment) for line in lines if line.better), None)
    environment = better or plan.environments[0]
    algorithm, policy = algorithm_class(plan.algorithm), _policy(plan, settings, environment)
    passed = [f"{name}={in_python(name, value)}" for name, value in settings.items() if name != "policy"]
    line = f"model = {algorithm.__name__}({', '.join([repr(policy), 'env', *passed])})"
    if better is None:
        return line, "# No entry of rl_zoo3: in no single environment is it shown to be better"
    try:
        values = {**dict(zip(OWN_KEYS, (plan.n_envs, plan.timesteps, policy), strict=True)), **_arguments(settings)}
    except ValueError as error:
        return line, f"# No entry of rl_zoo3: {error}"
    return line, "".join(_entry(environment, values, "", "")).rstrip()


def _policy(plan: StudyPlan, settings: Mapping[str, Any], environment: str) -> str:
    policy = settings.get("policy")
    if policy is None:
        env = make_environment(environment, 1, seed=0)
        policy = policy_name(env.observation_space, algorithm_class(plan.algorithm))
        env.close()
    return str(policy)


def _arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings but for the policy, as rl_zoo3 reads them."""
    return {name: in_rl_zoo3(value) for name, value in settings.items() if name != "policy"}


def _write_line(plan: StudyPlan, winner: Candidate, line: Difference, study: str, zoo_configs: Path) -> Path:
    environment = str(line.environment)
    policy, settings = _policy(plan, winner.settings, environment), _arguments(winner.settings)
    note = (
        f"{winner.name} of the study {study}: {amount(line)} return against the documented defaults, "
        f"{percent(line.level)} interval, {line.n} test seeds, {plan.timesteps} steps"
    )
    args = (plan.algorithm, environment, settings, plan.timesteps, plan.n_envs, policy)
    return write_entry(*args, note=note, path=zoo_configs)


def is_papers(algorithm: str, environment: str, path: str | Path) -> bool:
    """Whether a file has the paper's settings for an environment: they are kept, to be compared with.

    :param algorithm: Zoo id
    :param environment: Gymnasium id
    :param path: The folder
    """
    file = Path(path) / f"{safe_name(algorithm)}.yml"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    start = _read(text, file)[1].get(environment, 0)
    return start > 0 and text.splitlines()[start - 1].startswith(PAPERS)


def write_entry(
    algorithm: str,
    environment: str,
    settings: Mapping[str, Any],
    timesteps: int,
    n_envs: int,
    policy: str,
    note: str,
    path: str | Path,
) -> Path:
    """Insert an entry into ``<path>/<algorithm>.yml``, or put it in the place of the environment's old one.

    The comment that says where the old entry was from is replaced with it; every other byte of the file stays. To be
    called with confirmed settings only.

    :param algorithm: Zoo id
    :param environment: Gymnasium id, the entry's key
    :param settings: Constructor argument → value; numbers, strings, booleans, ``None``, or lists and dicts of these
    :param timesteps: Training steps
    :param n_envs: Environments stepped together
    :param policy: ``"MlpPolicy"`` and the like
    :param note: What tuned it; a comment above the entry
    :param path: The folder; made if it is not there
    :return: The file
    :raises ValueError: when the file is not YAML with one entry per environment, or the entry would change others
    """
    algorithm_class(algorithm)
    if clash := [key for key in OWN_KEYS if key in settings and key != "policy"]:
        raise ValueError(f"{clash[0]!r} is not a constructor argument but the entry's own: pass it as such")
    values = {"n_envs": n_envs, "n_timesteps": timesteps, "policy": policy} | dict(settings)
    file = Path(path) / f"{safe_name(algorithm)}.yml"
    before = file.read_bytes().decode("utf-8") if file.exists() else ""
    old, keys = _read(before, file)
    after = _replaced(before, keys, environment, _entry(environment, values, note, before))
    if not _holds(after, {**old, environment: values}):
        raise ValueError(
            f"The entry of {environment!r} does not fit into {file} without harm to the others: entries start in the "
            f"first column, one per environment, and refer to each other only upwards. Add it by hand: {values!r}"
        )
    with atomic(file) as temporary:
        temporary.write_bytes(after.encode("utf-8"))
    return file


def _holds(text: str, expected: Mapping[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == expected)
    except yaml.YAMLError:
        return False


def _read(text: str, file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The entries, and the line of each entry's key, from 0."""
    try:
        found, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(found, dict | None):
        raise ValueError(f"{file} holds {type(found).__name__}, not one entry per environment")
    return found or {}, {key.value: key.start_mark.line for key, _ in node.value} if found else {}


def _entry(environment: str, values: Mapping[str, Any], note: str, text: str) -> list[str]:
    newline = "\r\n" if "\r\n" in text else "\n"
    comment = [MARK + line + newline for line in note.splitlines()]
    entry = yaml.safe_dump(
        {environment: dict(values)}, sort_keys=False, allow_unicode=True, width=float("inf"), line_break=newline
    )
    return comment + entry.splitlines(keepends=True)


def _replaced(text: str, keys: Mapping[str, int], environment: str, entry: Sequence[str]) -> str:
    """The text with an entry in the place of the environment's old one, or at its end."""
    lines = text.splitlines(keepends=True)
    start = keys.get(environment)
    if start is None:
        newline = entry[-1][len(entry[-1].rstrip("\r\n")) :]
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += newline
        gap = [newline] if lines and lines[-1].strip() else []
        return "".join([*lines, *gap, *entry])
    # Blank lines and comments in the first column after the entry belong to what follows.
    end = min((line for line in keys.values() if line > start), default=len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    while start and lines[start - 1].startswith(ORIGINS):
        start -= 1
    return "".join([*lines[:start], *entry, *lines[end:]])
