"""Where a picture is drawn: in the caller's axes, or in new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskfmm.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes(given: Any, size: tuple[float, float]) -> Axes:
    """The given axes, or those of a new figure of so many inches, which a notebook shows.

    Raises
    ------
    ImportError
        Matplotlib is missing.
    InputError
        What is given is no axes.
    """
    try:
        from matplotlib import pyplot
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError('drawing needs Matplotlib: pip install "taskfmm[viz]"') from error
    if given is None:
        return pyplot.subplots(figsize=size, layout="constrained")[1]
    if not isinstance(given, Axes):
        raise InputError(
            f"ax is {type(given).__name__}, expected one matplotlib.axes.Axes, as plt.subplots() gives: "
            "leave it out for a new picture"
        )
    return given
