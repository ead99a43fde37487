"""Where the statistics of ``VecNormalize`` lie that a model was trained with."""

import re
from pathlib import Path

ZOO_STATISTICS = "vecnormalize.pkl"
#: rl_zoo3's and our name, and that of SB3's documentation.
NAMES = (ZOO_STATISTICS, "vec_normalize.pkl")
#: SB3's CheckpointCallback numbers both of its files.
CHECKPOINT = re.compile(r"(?P<prefix>.+)_(?P<steps>\d+)_steps")


def statistics_beside(model_path: Path) -> Path | None:
    """What ``VecNormalize`` saved beside a model.

    :param model_path: The model's zip
    :return: The file; ``None`` if there is none
    """
    names = list(NAMES)
    if checkpoint := CHECKPOINT.fullmatch(model_path.stem):
        names.insert(0, f"{checkpoint['prefix']}_vecnormalize_{checkpoint['steps']}_steps.pkl")
    return next((path for path in map(model_path.with_name, names) if path.is_file()), None)
