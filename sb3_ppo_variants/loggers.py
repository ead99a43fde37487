"""Messages to a logger."""

from typing import Any


def say(logger: Any, level: str, message: str) -> None:
    """
    :param logger: SB3's, or one of the user's own, which may only record and dump: that is all that SB3 asks of it
    :param level: Its method, ``"info"`` or ``"warn"``
    :param message: Not said where there is no such method
    """
    method = getattr(logger, level, None)
    if method is not None:
        method(message)
