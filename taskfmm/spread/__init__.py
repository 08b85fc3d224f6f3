"""Points that never meet in one process: their plans and evaluations."""

from taskfmm.spread.ahead import Ahead
from taskfmm.spread.evaluation import Spread
from taskfmm.spread.foretold import forecast
from taskfmm.spread.planning import from_dask, of_arguments

__all__ = ["Ahead", "Spread", "forecast", "from_dask", "of_arguments"]
