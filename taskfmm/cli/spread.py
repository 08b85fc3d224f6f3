"""``taskfmm run`` for points that never meet: from file to file, without a process that holds them."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

import taskfmm
from taskfmm.cli.options import DECIDE
from taskfmm.cli.planner import Planner, error_estimates
from taskfmm.files.input import InputFile, memory
from taskfmm.files.results import result
from taskfmm.files.slices import Slices
from taskfmm.files.zarr_output import ZarrOutput, write_block
from taskfmm.passes.given import Given
from taskfmm.profiling.progress import progress
from taskfmm.runtime.blocks import each_block, each_block_in_tasks
from taskfmm.spread import files

SHARE = 10
"""Points and sources of more than this part of the machine's memory stay in their file: a plan in one process takes
about ten times what they take themselves."""

ONE_PROCESS = "--one-process reads all points into this process"
"""What those can do who meet a limit of points that stay in their file."""


def too_large(file: InputFile) -> bool:
    """Whether points and sources are so many that they stay in their file."""
    return SHARE * file.n_bytes > memory()


def refuse_options(context: click.Context) -> None:
    """Raise UsageError for options that points which never meet do not have; what they have, `Fmm.from_dask` says."""
    taken = inspect.signature(taskfmm.Fmm.from_dask).parameters
    has = {"kernel_param": "kernel"}
    names = [name for name in (*DECIDE, "memory_limit") if has.get(name, name) not in taken]
    given = [name for name in names if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if given:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{told} cannot be given where points stay in their file, yet; {ONE_PROCESS}")


def evaluate(
    input_path: str,
    output: str,
    planner: Planner,
    names: Sequence[str],
    options: dict[str, Any],
    n_check: int = 0,
) -> dict[str, Any]:
    """Plan, evaluate and write, each in tasks that read and write their own rows; returns what there is to report.

    The values are those of `taskfmm.Fmm.from_dask` with the same options, bit for bit.

    options : that decide the plan, of which `refuse_options` has found nothing to refuse
    n_check : targets at which what was written is compared with the direct sum, 0 for none
    """
    with InputFile(input_path, planner.kernel, complex_too=True) as file:
        if file.format is not None:
            raise taskfmm.InputError(
                f"{input_path}: is {file.format.name}, and points stay in HDF5 or Zarr alone: write that by "
                "taskfmm convert"
            )
        kinds = [kind.given_as for kind in file.given()]
        found = {name: Slices.of(file, name) for name in ("sources", *kinds, "targets") if file.holds(name)}
    rows = files.rows_of_chunks(_row_bytes(planner, found, names))
    arrays = {name: files.lazy(each, rows) for name, each in found.items()}
    points, n_sources = arrays.pop("sources"), found["sources"].shape[0]
    taken = inspect.signature(taskfmm.Fmm.from_dask).parameters
    how = {name: value for name, value in options.items() if name in taken} | {"kernel": planner.kernel}
    if "targets" in arrays:
        how["targets"] = arrays.pop("targets")
    with file.naming():
        Given.checked(planner.kernel, None, arrays, n_sources, lazy=True)  # before all the points are sorted
        started = time.perf_counter()
        fmm = taskfmm.Fmm.from_dask(points, **how)
        planned = time.perf_counter()
        _write(output, fmm.evaluate(outputs=names, **arrays), rows, planner.settings)
        report = {
            "n_sources": n_sources,
            "n_targets": fmm.n_targets,
            "n_regions": fmm.n_regions,
            **planner.settings,
            "plan_seconds": planned - started,
            "evaluation_seconds": time.perf_counter() - planned,
        }
        if n_check:
            written = {name: files.dataset(output, name) for name in names}
            report |= error_estimates(fmm, arrays, written, n_check)
    return report


def _row_bytes(planner: Planner, found: dict[str, Slices], names: Sequence[str]) -> list[int]:
    """Bytes of a row of each dataset, and at most of each output."""
    kinds = [kind for kind in planner.kernel.sources if kind.given_as in found]
    vectors = [found[each.given_as].shape[1 + len(each.of_one) :] for each in kinds]
    outputs = [math.prod(planner.kernel.output(name).shape) * max(map(math.prod, vectors)) for name in names]
    return [
        *(math.prod(each.shape[1:]) * each.dtype.itemsize for each in found.values()),
        *(np.dtype(np.complex128).itemsize * numbers for numbers in outputs),
    ]


def _write(output: str, arrays: dict[str, Any], rows: int, settings: dict[str, Any]) -> None:
    """Compute arrays, and write each block as soon as it is there: by the tasks themselves, if that can be."""
    # what two tasks write must never be one chunk of the file
    arrays = {name: array.rechunk((rows, *(-1,) * (array.ndim - 1))) for name, array in arrays.items()}
    shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    with result(output, shapes, chunk_rows=rows) as file, progress():
        if isinstance(file, ZarrOutput):
            each_block_in_tasks(arrays, partial(write_block, str(file.directory)))
        else:
            each_block(arrays, file.write)
        file.attributes(settings)
