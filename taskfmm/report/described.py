"""What a plan tells of itself: the methods of `taskfmm.Fmm` that evaluate nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskfmm import choices
from taskfmm.evaluation import Evaluator
from taskfmm.forecast.forecast import Forecast
from taskfmm.kernels import Kernel
from taskfmm.plan.plan import Plan
from taskfmm.report import boxes
from taskfmm.report import explain as text
from taskfmm.report.drawing import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Described:
    """A plan, with what evaluates it."""

    kernel: Kernel
    plan: Plan | None
    memory_limit: int | None
    _evaluator: Evaluator

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
        >>> 0.0 < fmm.forecast().seconds < 60.0
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
            As `forecast`, or a format that Matplotlib does not know.
        StorageError
            The picture cannot be written, as where its directory is missing.
        """
        return draw(self.forecast(outputs), filename)

    def plot_tree(self, axis: str = "z", at: float | None = None, ax: Axes | None = None) -> Axes:
        """Draw the leaves that a plane cuts, coloured by level, and the sources in them.

        Parameters
        ----------
        axis : "x", "y" or "z"
            Normal to the plane.
        at : float, optional
            Where the plane is on this axis, in the unit of the points; at the median of the sources, if left out.
        ax : matplotlib.axes.Axes, optional
            Where to draw; in a new figure, if left out.

        Returns
        -------
        matplotlib.axes.Axes
            In the unit of the points. Of more than 5,000 sources, every second, third, ... one is shown.

        Raises
        ------
        ImportError
            Matplotlib is missing: ``pip install "taskfmm[viz]"``.
        InputError
            A plane that cuts no leaf, a plan without points, or an ``ax`` that is none.

        Examples
        --------
        >>> import numpy as np, taskfmm
        >>> fmm = taskfmm.Fmm(np.random.default_rng(6174).normal(size=(5000, 3)), leaf_size=100)
        >>> fmm.plot_tree().get_xlabel()
        'x'
        """
        return boxes.plot_tree(self.plan, axis, at, ax)

    def plot_lists(self, box: Any, axis: str = "z", ax: Axes | None = None) -> Axes:
        """Draw a box and those of its interaction lists that the plane through its middle cuts.

        Parameters
        ----------
        box : int, or three floats
            The number of a box: they are counted from 0, the root, level by level. Or a place, in the unit of the
            points: then it is the leaf there.
        axis : "x", "y" or "z"
            Normal to the plane.
        ax : matplotlib.axes.Axes, optional
            Where to draw; in a new figure, if left out.

        Returns
        -------
        matplotlib.axes.Axes
            Each list has the colour of its operator; the legend has its number of boxes, and how many are shown.
            Lists are those that evaluations run: boxes of W and X lists with few points have moved to U lists. Images
            of a periodic box are drawn where they are.

        Raises
        ------
        ImportError
            Matplotlib is missing: ``pip install "taskfmm[viz]"``.
        InputError
            A number or a place where no box is, a plan without points, or an ``ax`` that is none.

        Examples
        --------
        >>> import numpy as np, taskfmm
        >>> fmm = taskfmm.Fmm(np.random.default_rng(6174).normal(size=(5000, 3)), leaf_size=100)
        >>> fmm.plot_lists([0.0, 0.0, 0.0]).get_legend().get_texts()[1].get_text()[:6]
        'V, M2L'
        """
        return boxes.plot_lists(self.plan, box, axis, ax)

    def _repr_html_(self) -> str:
        return text.html(self._evaluator)

    def __repr__(self) -> str:
        return text.title(self._evaluator)

    def _wanted(self, outputs: Sequence[str] | str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
        return usual if outputs is None else choices.outputs(outputs, self.kernel.names)
