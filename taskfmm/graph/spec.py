"""The one file that touches Dask's task specification and the making of its arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed
from dask.task_spec import List, Task, TaskRef

from taskfmm.profiling import recording

Graph = dict[Any, Any]


class OperatorTask(Task):
    """A task that keeps its name and tells who listens how it ran: the optimiser must not fuse it into a chain.

    Its identity is its key, whose token already names kernel, geometry, charges and accuracy; the arguments,
    hundreds of megabytes of them, are never hashed again.
    """

    __slots__ = ()

    @property
    def block_fusion(self) -> bool:
        return True

    def _get_token(self) -> str:
        return str(self.key)

    def __call__(self, values: Any = ()) -> Any:
        if not recording.listeners:
            return super().__call__(values)
        return recording.clocked(self.key, self.dependencies, values, super().__call__)


def add(graph: Graph, key: tuple, function: Callable[..., Any], *args: Any) -> TaskRef:
    """Put a task into the graph; returns the reference that others use as an argument."""
    graph[key] = OperatorTask(key, function, *args)
    return TaskRef(key)


def add_aside(graph: Graph, key: tuple, function: Callable[..., Any], *args: Any) -> TaskRef:
    """As `add`, for a task of no operator: nobody is told how it ran."""
    graph[key] = Task(key, function, *args)
    return TaskRef(key)


def sequence(references: Iterable[Any]) -> List:
    """Many references as one argument; Dask would not see them inside a plain list."""
    return List(*references)


def lazy(graph: Graph, name: str, chunks: tuple[tuple[int, ...], ...], dtype: np.dtype) -> da.Array:
    """A dask.array whose chunk ``i`` is the task ``(name, i, 0, ...)`` of the graph, under either of Dask's
    array implementations."""
    meta = np.empty((0,) * len(chunks), dtype)
    if getattr(da, "array_expr_enabled", bool)():  # older versions have no expressions
        from dask.array._array_expr._collection import from_graph

        keys = [(name, i, *(0,) * (len(chunks) - 1)) for i in range(len(chunks[0]))]
        return from_graph(graph, meta, chunks, keys, name.rsplit("-", 1)[0])
    return da.Array(graph, name, chunks, meta=meta)


def persisted(graph: Graph, keys: Iterable[Any]) -> Graph:
    """The results of some tasks, by their keys: values in this process, or futures of a cluster."""
    found: Graph = {}
    for each in dask.persist(*(Delayed(key, graph) for key in keys)):
        found.update(each.dask)
    return found
