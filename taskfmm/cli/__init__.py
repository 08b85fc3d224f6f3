"""The command ``taskfmm``: one file for each kind of subcommand.

Exit codes: 0 done, 1 the input or the computation failed (one line says why), 2 the command line is wrong.
Numba and Dask take a second to import, so each command imports what it needs and ``--help`` stays quick.
"""

from taskfmm.cli import clouds, convert, evaluate, explain, measure, profile
from taskfmm.cli.group import main

__all__ = ["clouds", "convert", "evaluate", "explain", "main", "measure", "profile"]
