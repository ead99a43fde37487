"""When a study is stopped because its trials fail alike. The kinds of failures are those of :mod:`.runs.guard`."""

import re
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from sb3_ppo_variants.experiments.engine.store import DESCRIPTION, reason
from sb3_ppo_variants.experiments.tuning.samplers import NUMBER

SAME_ERRORS = 3  # the same config error so many times running ends the study


class RepeatedError(ValueError):
    """The last trials failed alike, and so probably would every further one."""


_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")


def _alike_from_the_start(said: Sequence[str], settled: Sequence[FrozenTrial]) -> bool:
    """Whether errors differ only in their numbers, and no trial but the defaults has ever finished.

    Good messages name the value that was proposed, so the same broken rule gives a different text each time. If only a
    part of the space breaks the rule, other trials finish.
    """
    finished = [t for t in settled if t.state == TrialState.COMPLETE and t.user_attrs[DESCRIPTION][NUMBER] != 0]
    return not finished and len({_NUMBER.sub("#", text) for text in said}) == 1


def repeated_error(settled: Sequence[FrozenTrial]) -> str | None:
    """The config error that the last :data:`SAME_ERRORS` trials had in common.

    The texts are equal, or they differ only in numbers as long as no trial but the defaults has finished.

    :param settled: The study's settled trials
    :return: The newest one's, and what to do; ``None`` if there is none
    """
    last = sorted(settled, key=lambda t: t.datetime_complete)[-SAME_ERRORS:]  # type: ignore[arg-type, return-value]
    said = [reason(t) or "" for t in last]
    if len(last) < SAME_ERRORS or not (len(set(said)) == 1 or _alike_from_the_start(said, settled)):
        return None
    text = said[-1]
    if not text.startswith("config: "):
        return None
    return (
        f"The last {SAME_ERRORS} trials failed with the same error, {text!r}: the study is stopped. Correct the space "
        f"or the fixed settings and start it with another --out"
    )
