"""The graph of an evaluation of points that never meet: that of any plan between files of charges and of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dask.core import flatten
from dask.task_spec import TaskRef

from taskfmm.graph import build
from taskfmm.graph.spec import Graph, add, add_aside, sequence
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Operators
from taskfmm.passes.given import Given
from taskfmm.passes.scaled import largest
from taskfmm.profiling.names import ASIDE, MARK
from taskfmm.spread import blocks
from taskfmm.spread.plan import SpreadPlan


class SpreadBuilder(build.GraphBuilder):
    """As `taskfmm.graph.build.GraphBuilder`, for charges in chunks and results in the chunks of the targets."""

    def __init__(
        self, plan: SpreadPlan, kernel: Kernel, operators: Operators, output: str, dtype: np.dtype, token: str
    ) -> None:
        super().__init__(plan, plan.depot, kernel, operators, output, dtype, token)
        self.spread = plan
        self.aside = ASIDE + token.removeprefix(MARK)
        self.where = plan.depot.path, plan.depot.directory("evaluation")

    def enter(self, charges: Given, exponents: Any = None) -> tuple[list[TaskRef], Any]:
        kernel, pieces, powers, names = charges.kernel, self.spread.of_sources, [], []
        for number, (kind, array) in enumerate(zip(kernel.kinds, charges.arrays, strict=True)):
            self.graph.update(array.__dask_graph__())
            name = f"charges_{number}"
            names.append(name)
            for chunk, piece in zip(flatten(array.__dask_keys__()), pieces, strict=True):
                key = f"given-{self.aside}", number, piece.number
                facts = kind, self.scale, name, piece.number, *self.where
                args = TaskRef(chunk), blocks.declared(array, piece, kind), *facts
                powers.append(add_aside(self.graph, key, blocks.enter, *args))
        # whoever has the exponents knows that all files are there
        exponents = add_aside(self.graph, (f"exponent-{self.aside}", 0, 0), largest, sequence(powers), kernel)
        entered = []
        for shard, region in enumerate(self.spread.with_sources):
            key, how = (f"charges-{self.token}", shard, 0), (kernel, self.scale, exponents, *self.where)
            entered.append(add(self.graph, key, blocks.charges, region, tuple(names), len(pieces), *how))
        return entered, exponents

    def collected(self, key: tuple, number: int, output: str, values: Any) -> TaskRef:
        how = (self.kernel, output, self.scale, self.exponents, self.dtype)
        own = self.shelf.reference(f"chunk/{number}")
        return add(self.graph, key, blocks.collect, own, values, sequence(how), output, number, *self.where)

    def in_order(self, output: str) -> str:
        """Tasks with the results of each chunk of targets in its order; returns their name."""
        name, sizes = self.collect(output)
        axes = (0,) * (len(self.kernel.output(output).shape) + (self.kernel.vectors > 1))
        written = [TaskRef((name, number, *axes)) for number in range(len(sizes))]
        all_written = add_aside(
            self.graph, (f"written-{output}-{self.aside}", 0, 0), _nothing, sequence(written)
        )
        own = f"{output}-{self.aside}"
        for piece in self.spread.of_targets:
            args = output, piece.within, piece.number, len(sizes), *self.where, all_written
            add_aside(self.graph, (own, piece.within, *axes), blocks.in_order, *args)
        return own


def _nothing(_: Any) -> None:
    """Runs when all files of an output are there; whoever reads these waits for it alone."""


def build_arrays(
    plan: SpreadPlan,
    operators: Operators,
    charges: Given,
    outputs: Sequence[str],
    dtype: np.dtype,
    token: str,
) -> tuple[Graph, dict[str, str]]:
    """The graph of an evaluation, and for each output the name of its chunks."""
    kernel = charges.kernel.computing(outputs)
    builder = SpreadBuilder(plan, kernel, operators, kernel.last(outputs), dtype, token)
    builder.evaluate(charges)
    return builder.graph, {output: builder.in_order(output) for output in outputs}
