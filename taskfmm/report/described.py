"""What a plan tells of itself: the methods of `taskfmm.Fmm` that evaluate nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskfmm import choices
from taskfmm.evaluation import Evaluator
from taskfmm.forecast.forecast import Forecast
from taskfmm.kernels import Kernel
from taskfmm.report import explain as text
from taskfmm.report.drawing import draw


class Described:
    """A plan, with what evaluates it."""

    kernel: Kernel
    _evaluator: Evaluator
    memory_limit: int | None

    def forecast(self, outputs: Sequence[str] | str | None = None) -> Forecast:
        """What one evaluation would take on the scheduler in use: its graph, seconds and memory.

        Parameters
        ----------
        outputs : sequence of the kernel's outputs; the first one, if left out

        Returns
        -------
        taskfmm.forecast.forecast.Forecast

        Raises
        ------
        InputError
            An unknown output, or a plan without points, of which there is nothing to tell.
        AccuracyError
            As `evaluate`.

        Examples
        --------
        >>> import numpy as np, taskfmm
        >>> fmm = taskfmm.Fmm(np.random.default_rng(271).random((1000, 3)))
        >>> fmm.forecast().memory["peak"] < 2**31
        True
        """
        return self._evaluator.forecast(self._wanted(outputs, self.kernel.names[:1]))

    def explain(self, outputs: Sequence[str] | str | None = None) -> str:
        """What was planned, and what an evaluation of these outputs will take, as text.

        Boxes by level, list sizes, operators; tasks, edges and bytes of the graph; the critical path; seconds
        and peak memory on the scheduler in use. `facts` gives the same as data.
        """
        return text.explain(self._evaluator, self._wanted(outputs, self.kernel.names[:1]), self.memory_limit)

    def facts(self, outputs: Sequence[str] | str | None = None) -> dict[str, Any]:
        """Numbers about the plan and one evaluation.

        Points, boxes by level, mean list sizes, operators, tasks by operator and bytes of the plan; "direct_sum" if
        all pairs are summed, without operators; under "forecast" the graph, expected seconds and memory, see
        `taskfmm.forecast.forecast.Forecast.facts`. Without points there are no boxes and no forecast.
        """
        return text.facts(self._evaluator, self._wanted(outputs, self.kernel.names[:1]), self.memory_limit)

    def visualize(self, filename: str | None = None, outputs: Sequence[str] | str | None = None) -> Any:
        """Draw the graph of an evaluation: a node for each operator and level, coloured by operator.

        Upward on the left, M2L across, downward on the right. The area of a node is its expected seconds, the
        width of a line the bytes that move along it.

        Parameters
        ----------
        filename : str, optional
            Where to write the picture, in any format that Matplotlib knows.
        outputs : sequence of the kernel's outputs; the first one, if left out

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Matplotlib is missing: ``pip install "taskfmm[viz]"``.
        InputError
            As `forecast`.
        """
        return draw(self.forecast(outputs), filename)

    def _repr_html_(self) -> str:
        return text.html(self._evaluator)

    def __repr__(self) -> str:
        return text.title(self._evaluator)

    def _wanted(self, outputs: Sequence[str] | str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
        return usual if outputs is None else choices.outputs(outputs, self.kernel.names)
