"""``taskfmm run --charges-batch``: many vectors on one plan, which goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

import taskfmm
from taskfmm.cli.planner import Planner, error_estimates
from taskfmm.files.charges import Batch
from taskfmm.files.journal import Journal
from taskfmm.files.results import result
from taskfmm.passes.given import AT_ONCE
from taskfmm.profiling.progress import progress
from taskfmm.runtime.blocks import each_block

BLOCK = AT_ONCE
"""Vectors that are evaluated together. Which ones does not hang on what is finished: a vector's last digits hang on
those beside it."""


def evaluate(
    input_path: str,
    output: str,
    planner: Planner,
    names: tuple[str, ...],
    n_check: int,
) -> dict[str, Any]:
    """Evaluate every row of /charges, the kernel's first kind of source; returns what there is to report.

    Blocks of vectors are evaluated together. At most the block in hand is lost when the process is killed. Results on
    the disk do not depend on whether it was: the journal is refused unless input, settings, version and plan are the
    same, and a block of which a part is finished is evaluated as a whole again.
    """
    settings, first_kind = planner.settings, planner.kernel.sources[0]
    if first_kind.of_one:
        raise click.UsageError(
            "--charges-batch is for kernels whose first source is one number for each point, and "
            f"{first_kind.given_as} of kernel {planner.kernel.name} are several: leave it out"
        )
    with Batch(input_path, planner.kernel, planner.points) as data:
        fmm = planner.make(data)
        started = time.perf_counter()
        run = {**settings, "input": data.digest, "outputs": names, "plan": _plan(fmm, names)}
        shapes = _shapes(fmm, names)
        with Journal(Path(f"{output}.part"), run, data.n_vectors, shapes) as journal:
            found = journal.finished()
            with tqdm(total=data.n_vectors, initial=len(found), unit="vector", disable=None) as bar:
                for begin in range(0, data.n_vectors, BLOCK):
                    vectors = range(begin, min(begin + BLOCK, data.n_vectors))
                    missing = [vector for vector in vectors if vector not in found]
                    if missing:
                        charges = np.stack([data.vector(vector) for vector in vectors], axis=1)
                        with progress():
                            each_block(
                                fmm.evaluate(charges, outputs=names), partial(_write, journal, begin, missing)
                            )
                    for vector in missing:
                        journal.finish(vector)
                        bar.update()
            report = planner.report(data) | {
                "n_vectors": data.n_vectors,
                "n_found": len(found),
                "evaluation_seconds": time.perf_counter() - started,
            }
            if n_check and data.n_vectors:
                first = {name: journal.read(0, name) for name in names}
                given = {first_kind.given_as: data.vector(0)}
                report |= error_estimates(fmm, given, first, n_check)
            whole = {name: ((data.n_vectors, *shape), dtype) for name, (shape, dtype) in shapes.items()}
            with result(output, whole, rows=1) as file:
                for vector, name, row, block in journal.blocks():
                    file.write(name, (vector, row), block)
                file.attributes(settings)
            journal.remove()
    return report


def _write(
    journal: Journal, first: int, missing: Sequence[int], name: str, row: int, values: np.ndarray
) -> None:
    """Write rows of one output of a block of vectors, of those that are missing; first : vector of the block."""
    for vector in missing:
        journal.write(vector, name, row, values[..., vector - first])


def _shapes(fmm: taskfmm.Fmm, names: tuple[str, ...]) -> dict[str, Any]:
    found = [fmm.kernel.output(name) for name in names]
    return {each.name: ((fmm.n_targets, *each.shape), each.dtype(fmm.dtype)) for each in found}


def _plan(fmm: taskfmm.Fmm, names: tuple[str, ...]) -> dict[str, Any]:
    """What was chosen while planning, and moves the last digits: it may change with the machine's rates."""
    cube = fmm.plan.tree.domain.half_width if fmm.plan else None
    chosen = fmm.accuracy(fmm.kernel.last(names))
    return {
        "leaf_size": fmm.leaf_size,
        "cube": None if cube is None else float(cube),
        "accuracy": str(chosen),
    }
