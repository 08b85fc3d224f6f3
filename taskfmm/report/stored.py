"""A plan in a file: the methods of `taskfmm.Fmm` that write one and read it."""

from __future__ import annotations

import os
from typing import Self

from taskfmm.errors import InputError
from taskfmm.evaluation import Evaluator
from taskfmm.plan.planned import Planned
from taskfmm.profiling.progress import announce_compilation
from taskfmm.runtime import memory
from taskfmm.runtime.threads import one_blas_thread
from taskfmm.store import saved


class Stored:
    """What was planned, with what evaluates it."""

    _planned: Planned
    _evaluator: Evaluator

    def _hold(self, planned: Planned, memory_limit: int | None, root: Evaluator | None = None) -> None:
        raise NotImplementedError

    @one_blas_thread()
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole plan into an HDF5 file: points, tree, keys, lists, operators, shards.

        Parameters
        ----------
        path : path
            What was there before is replaced, once the new file is whole and on the disk.

        Raises
        ------
        StorageError
            The file cannot be written; nothing was changed.
        InputError
            This plan reads the multipoles of another one, see `at`.

        Examples
        --------
        >>> import os, tempfile, numpy as np, taskfmm
        >>> fmm = taskfmm.Fmm(np.random.default_rng(8191).random((500, 3)))
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     fmm.save(os.path.join(directory, "plan.h5"))
        ...     again = taskfmm.Fmm.load(os.path.join(directory, "plan.h5"))
        >>> bool(np.all(again.potential(np.ones(500)).compute() == fmm.potential(np.ones(500)).compute()))
        True
        """
        if self._evaluator.base is not None:
            raise InputError(
                "this plan was made by at, from that of its sources: save that one, and call at again"
            )
        saved.save(path, saved.Contents.of(self._planned, self._evaluator.chooser.reachable()))

    @classmethod
    def load(cls, path: str | os.PathLike[str], memory_limit: int | str | None = None) -> Self:
        """A plan that `save` wrote. It gives the same results, bit for bit, as the one that was saved.

        Arrays are mapped, not read: replace or remove the file while it is in use, but do not write into it. Files
        may come from anywhere; nothing in them is unpickled or evaluated, and every index is checked.

        Parameters
        ----------
        path : path
        memory_limit : int or str, optional
            As for `Fmm`.

        Raises
        ------
        StorageError
            The file is not there, no plan, of another version of taskfmm, cut short or changed.
        InputError
            It holds what no plan can be.

        Examples
        --------
        >>> fmm = taskfmm.Fmm.load("plan.h5")  # doctest: +SKIP
        """
        limit = memory.parse_limit(memory_limit)
        announce_compilation()
        fmm = cls.__new__(cls)
        fmm._hold(saved.load(path).planned(path), limit)
        return fmm
