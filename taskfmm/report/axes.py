"""Where a picture is drawn: in the caller's axes, or in new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes(given: Axes | None, size: tuple[float, float]) -> Axes:
    """The given axes, or those of a new figure of so many inches, which a notebook shows.

    Raises
    ------
    ImportError
        Matplotlib is missing.
    """
    if given is not None:
        return given
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('drawing needs Matplotlib: pip install "taskfmm[viz]"') from error
    return pyplot.subplots(figsize=size, layout="constrained")[1]
