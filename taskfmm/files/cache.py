"""Where what is worth keeping between processes is kept: operators and machine rates."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def directory() -> Path:
    """The user's cache directory, or ``TASKFMM_CACHE_DIR``; it need not exist.

    Raises
    ------
    OSError
        There is no home directory, and nothing else was chosen: the working directory is never used instead.
    """
    if chosen := os.environ.get("TASKFMM_CACHE_DIR"):
        return Path(chosen).absolute()
    try:
        found = Path(platformdirs.user_cache_dir("taskfmm"))
    except RuntimeError:  # of platformdirs; older ones give a path that begins with a tilde
        found = Path()
    if not found.is_absolute():
        raise OSError("there is no home directory: set TASKFMM_CACHE_DIR")
    return found
