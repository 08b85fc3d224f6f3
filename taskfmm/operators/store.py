"""Operators kept on disk: a cache of HDF5 files, one for each kernel and accuracy.

A file is written beside its final place and moved there whole, with checksums; whatever cannot be read back
exactly as expected is built again. The cache is in the user's cache directory, or in ``TASKFMM_CACHE_DIR``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.cache import directory
from taskfmm.operators.expansions import Expansions
from taskfmm.operators.m2l import LowRankM2L
from taskfmm.version import __version__

logger = logging.getLogger("taskfmm")

FORMAT = 1
"""Of the files; raised whenever operators of the same name would hold other numbers."""


def path(kernel: Kernel, accuracy: Accuracy) -> Path:
    """The file of one set of operators."""
    identity = f"{FORMAT} {__version__} {kernel} {accuracy}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return directory() / f"{kernel.name}-{accuracy.order}-{digest}.h5"


def save(kernel: Kernel, operators: Expansions) -> None:
    """Write operators into the cache; a cache that cannot be written is only logged."""
    final = path(kernel, operators.accuracy)
    temporary = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=final.parent, suffix=".part")
        os.close(handle)
        with h5py.File(temporary, "w") as file:
            for name, array in _arrays(operators):
                # small arrays stay as they are: HDF5 checksums chunks, and scalars cannot have any
                file.create_dataset(name, data=array, chunks=array.shape, fletcher32=True)
            file.attrs["identity"] = repr((FORMAT, __version__, kernel, operators.accuracy))
            file.attrs["complete"] = True
        os.replace(temporary, final)
    except OSError as error:
        logger.info("operators not kept in %s: %s", final.parent, error)
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def load(kernel: Kernel, accuracy: Accuracy) -> Expansions | None:
    """Operators from the cache, or None if they are not there whole and unchanged."""
    source = path(kernel, accuracy)
    if not source.is_file():
        return None
    try:
        with h5py.File(source, "r") as file:
            if not file.attrs.get("complete") or file.attrs["identity"] != repr(
                (FORMAT, __version__, kernel, accuracy)
            ):
                raise OSError("incomplete, or of another kernel, accuracy or version")
            found = {name: file[name][:] for name in _NAMES}
    except (OSError, KeyError, RuntimeError) as error:
        logger.warning("cached operators in %s are unusable and are built again: %s", source, error)
        return None
    m2l = LowRankM2L(*(found.pop(f"m2l/{field.name}") for field in fields(LowRankM2L)))
    return Expansions(accuracy=accuracy, m2l=m2l, **found)


def _arrays(operators: Any, prefix: str = "") -> list[tuple[str, np.ndarray]]:
    found: list[tuple[str, np.ndarray]] = []
    for field in fields(operators):
        value = getattr(operators, field.name)
        if isinstance(value, np.ndarray):
            found.append((prefix + field.name, value))
        elif is_dataclass(value) and not isinstance(value, Accuracy):
            found += _arrays(value, f"{prefix}{field.name}/")
    return found


_NAMES = [f.name for f in fields(Expansions) if f.name not in ("accuracy", "m2l")] + [
    f"m2l/{f.name}" for f in fields(LowRankM2L)
]
