"""Points that never meet in one process: their plans and evaluations."""

from taskfmm.spread.evaluation import Spread
from taskfmm.spread.planning import from_dask, of_any

__all__ = ["Spread", "from_dask", "of_any"]
