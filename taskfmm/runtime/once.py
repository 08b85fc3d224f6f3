"""What is said once: warnings in the log that would only tire when repeated."""

from __future__ import annotations

import logging
import threading
from typing import Any

logger = logging.getLogger("taskfmm")

_said: set[str] = set()
_lock = threading.Lock()


def said(message: str) -> bool:
    """Whether this process has said it."""
    return message in _said


def say_once(message: str, *values: Any) -> None:
    """A warning in the log, the first time in this process; ``values`` fill in the message and do not count."""
    with _lock:
        if message in _said:
            return
        _said.add(message)
    logger.warning(message, *values)
