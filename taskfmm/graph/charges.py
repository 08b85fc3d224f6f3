"""How charges enter a graph: by shard, so that a task, and the process it runs in, gets no others than it reads.

Arrays are put into the order of the tree here. Chunks of a dask.array stay where they are: each is checked by a task
when it is known, and shards take their own from all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
from dask.core import flatten
from dask.task_spec import TaskRef

from taskfmm import validate
from taskfmm.graph import tasks
from taskfmm.graph.reference import Reference, Shelf
from taskfmm.graph.spec import Graph, add, add_aside, sequence
from taskfmm.passes.given import Given
from taskfmm.passes.scaled import largest, power
from taskfmm.profiling.names import ASIDE, MARK


def enter(
    graph: Graph,
    given: Given,
    rows: Sequence[np.ndarray],
    references: Sequence[Reference],
    scale: float,
    token: str,
    lengths: Sequence[Reference] = (),
    exponents: Any = None,
) -> tuple[list[TaskRef], Any]:
    """A task for each shard of charges, and their exponents, which are a task's as well where charges are lazy.

    rows : int64 arrays, of the sources of each shard, see `taskfmm.plan.plan.Plan.charges`
    references : to the same
    scale : of the domain
    token : of the evaluation, which begins with `MARK`
    lengths : to those of the sources of each shard, where these are softened
    exponents : if they are known, or found by another task
    """
    kernel, aside = given.kernel, ASIDE + token.removeprefix(MARK)
    taken: list[Sequence[Any]] = []
    powers: list[Any] = []
    for number, (kind, array) in enumerate(zip(kernel.kinds, given.arrays, strict=True)):
        if isinstance(array, da.Array):
            groups, starts = _checked(graph, array, kind.given_as, len(rows), aside, number)
            if exponents is None:
                powers += [
                    add_aside(graph, (f"power-{aside}", number, i), power, group, kind, scale)
                    for i, group in enumerate(groups)
                ]
            taken.append(_of_shards(graph, groups, starts, references, aside, number))
        else:
            powers += [power(array, kind, scale)] if exponents is None else []
            # a copy, as the caller may fill his array anew before a lazy result is computed
            shelf = Shelf({f"charges/{shard}": array[each] for shard, each in enumerate(rows)})
            taken.append([shelf.reference(each) for each in shelf.values])
    if exponents is None and given.are_lazy:
        exponents = add_aside(graph, (f"exponent-{aside}", 0, 0), largest, sequence(powers), kernel)
    elif exponents is None:
        exponents = largest(powers, kernel)
    how = kernel, scale, exponents
    entered = [
        add(
            graph,
            (f"charges-{token}", shard, 0),
            tasks.charges,
            sequence(kinds),
            *how,
            *lengths[shard : shard + 1],
        )
        for shard, kinds in enumerate(zip(*taken, strict=True))
    ]
    return entered, exponents


def _checked(
    graph: Graph, array: da.Array, argument: str, most: int, aside: str, number: int
) -> tuple[list[TaskRef], np.ndarray]:
    """Tasks that check chunks that follow each other, in no more groups than ``most``, and the rows before each."""
    if array.ndim > 1:
        array = array.rechunk(dict.fromkeys(range(1, array.ndim), -1))
    graph.update(array.__dask_graph__())
    chunks = [TaskRef(key) for key in flatten(array.__dask_keys__())]
    lengths = tuple(map(int, array.chunks[0]))
    n = min(most, len(chunks))
    edges = len(chunks) * np.arange(n + 1) // n
    starts = np.cumsum([0, *lengths])[edges]
    groups = []
    for i, (first, last) in enumerate(pairwise(edges.tolist())):
        declared = lengths[first:last], array.shape[1:], str(array.dtype), first, int(starts[i]), argument
        key = (f"given-{aside}", number, i)
        groups.append(add_aside(graph, key, validate.chunks, sequence(chunks[first:last]), *declared))
    return groups, starts


def _of_shards(
    graph: Graph,
    groups: list[TaskRef],
    starts: np.ndarray,
    rows: Sequence[Reference],
    aside: str,
    number: int,
) -> list[TaskRef]:
    """For each shard a task with its charges, in the order of the tree."""
    found = []
    for shard, own in enumerate(rows):
        pieces = [
            add_aside(graph, (f"piece-{aside}", number, shard, i), tasks.piece, group, own, begin)
            for i, (group, begin) in enumerate(zip(groups, starts.tolist(), strict=False))
        ]
        if len(pieces) == 1:
            found += pieces
        else:
            key = (f"taken-{aside}", number, shard)
            found.append(add_aside(graph, key, tasks.taken, own, starts, sequence(pieces)))
    return found
