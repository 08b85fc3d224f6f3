"""Where what is worth keeping between processes is kept: operators and machine rates."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def directory() -> Path:
    """The user's cache directory, or ``TASKFMM_CACHE_DIR``; it need not exist."""
    chosen = os.environ.get("TASKFMM_CACHE_DIR")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("taskfmm"))
