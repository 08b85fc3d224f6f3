"""What happened: where the time went by operator and level, by thread, and along the critical path."""

from __future__ import annotations

import csv
import html
import json
import logging
import platform
import sys
from collections.abc import Hashable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.callbacks import Callback

from taskfmm.errors import InputError
from taskfmm.profiling import analysis, recording, tables
from taskfmm.profiling.analysis import FIELDS
from taskfmm.profiling.names import operator_of
from taskfmm.profiling.recording import Record
from taskfmm.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("taskfmm")

PACKAGES = ("dask", "distributed", "numba", "numpy")

NOTHING = (
    "taskfmm.profile: no task of taskfmm ended while this profile was open. Compute inside the with block; a "
    "distributed.Client must be there before the block is entered."
)

UNSEEN = (
    "taskfmm.profile: %d tasks ran in processes that a profile cannot look into (Dask's 'processes' scheduler). "
    "Use scheduler='threads', or a distributed.Client, whose worker processes report what they run."
)


class profile(Callback):
    """Record every taskfmm task that ends while it is open: ``with taskfmm.profile() as prof: phi.compute()``.

    Works alike under the threaded, the synchronous and the distributed scheduler, in this process or in workers,
    and for arrays that were made before. Under distributed, workers that join later report too, and the finished
    tasks of a worker that dies are kept. Other Dask work is left out.

    Parameters
    ----------
    client : distributed.Client, optional
        Whose workers shall report; the current client, if there is one.

    Raises
    ------
    InputError
        The client is asynchronous, or this profile is open already.

    Notes
    -----
    A profile takes what happens in the process, whoever asked for it: of profiles that are open at once, nested
    or in several threads, each gets every task that ends while it is open. One that is opened again adds to what
    it has. Tasks that fail are left out.

    CPU time is that of the thread that runs the task; of a task that runs alone with several Numba threads, that
    of the process, so that CPU/wall may reach their number. Where several tasks with several Numba threads each
    run at once, it is the calling thread's alone.

    Dask's "processes" scheduler is not supported: a warning in the log says how many tasks were missed.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> rng = np.random.default_rng(1729)
    >>> phi = taskfmm.Fmm(rng.random((2000, 3)), eps=1e-3).potential(np.ones(2000))
    >>> with taskfmm.profile() as prof:
    ...     values = phi.compute()
    >>> [row["operator"] for row in prof.table(by="operator")][:2]
    ['charges', 'P2M']
    >>> prof.totals()["tasks"] == len(prof.tasks)
    True
    """

    def __init__(self, client: Any = None) -> None:
        self._asked = client
        self._client: Any = None
        self._open = False
        self._records: list[Record] = []
        self._done: set[str] = set()
        self._workers: dict[str, int] = {}

    def __enter__(self) -> profile:
        if self._open:
            raise InputError("this profile is open already: make another one for a nested block")
        self._client = _client(self._asked)
        self._open = True
        recording.listen(self._records.append)
        if self._client is not None:
            from taskfmm.profiling import remote

            try:
                remote.attach(self._client)
            except BaseException:
                self._close()
                raise
        super().__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        try:
            if self._client is not None:
                from taskfmm.profiling import remote

                self._workers |= remote.detach(self._client)
        finally:
            self._close()
        if self._n_unseen():
            logger.warning(UNSEEN, self._n_unseen())

    def _close(self) -> None:
        recording.forget(self._records.append)
        self._client = None
        self._open = False

    def _posttask(self, key: Hashable, result: Any, dsk: Any, state: dict[str, Any], worker: Any) -> None:
        """Dask's schedulers of this machine call this in the process that asked, wherever the task ran."""
        if operator_of(key) is not None:
            self._done.add(str(key))

    def _n_unseen(self) -> int:
        return len(self._done - {record.key for record in self._records})

    @property
    def tasks(self) -> tuple[Record, ...]:
        """One record for each task that ended, in the order in which they began."""
        return tuple(sorted(self._records, key=lambda record: record.begin))

    def table(self, by: str | Sequence[str] = FIELDS) -> list[dict[str, Any]]:
        """Tasks, wall and CPU seconds, bytes and the share of the critical path, by operator and level.

        Parameters
        ----------
        by : "operator", "level" or both
            One row for each; charges, potential and gradient have no level, which is None.

        Returns
        -------
        list of dict
            The fields of ``by``, tasks, seconds and cpu_seconds (sums over tasks), cpu_per_wall, bytes_read (results
            of other tasks), bytes_written (own results), critical_seconds and critical_share.

        Raises
        ------
        InputError
            ``by`` names something else.
        """
        fields = (by,) if isinstance(by, str) else tuple(by)
        if not fields or not set(fields) <= set(FIELDS):
            raise InputError(f"by is {by!r}, expected 'operator', 'level' or ('operator', 'level')")
        return analysis.rows(self.tasks, fields)

    def threads(self) -> list[dict[str, Any]]:
        """label, worker, thread, tasks, busy_seconds and idle_seconds of each thread that ran a task, and of
        those of distributed workers that ran none (their thread is None).

        Idle is a thread while some evaluation runs and it has no task of ours; between evaluations nobody is.
        """
        return analysis.threads(self.tasks, self._workers)

    def critical_path(self) -> list[Record]:
        """The longest chain of tasks, by seconds, in which each took a result of the one before."""
        return analysis.critical_path(self.tasks)

    def totals(self) -> dict[str, Any]:
        """Tasks, threads, evaluations, bytes; seconds elapsed, in tasks, of CPU and of the critical path.

        parallelism is seconds in tasks over those of the critical path: how many threads could have been used.
        """
        return analysis.totals(self.tasks, self._workers)

    def to_csv(self, path: str | Path, by: str | Sequence[str] = FIELDS) -> None:
        """Write the table, with a head line."""
        rows = self.table(by)
        head = [*((by,) if isinstance(by, str) else by), *analysis.COLUMNS]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, head)
            writer.writeheader()
            writer.writerows(rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data: totals, table, threads, critical_path (keys), tasks, versions."""
        return {
            "totals": self.totals(),
            "table": self.table(),
            "threads": self.threads(),
            "critical_path": [record.key for record in self.critical_path()],
            "tasks": [record._asdict() for record in self.tasks],
            "unseen_tasks": self._n_unseen(),
            "versions": versions(),
        }

    def to_json(self, path: str | Path) -> None:
        """Write `to_dict` as JSON."""
        Path(path).write_text(json.dumps(self.to_dict()) + "\n", encoding="utf-8")

    def plot(self, path: str | Path | None = None) -> Figure:
        """A timeline, one lane for each thread, coloured by operator; saved if there is a path.

        Raises
        ------
        InputError
            Matplotlib is not installed, or does not know the format of the path.
        StorageError
            The picture cannot be written there.
        """
        from taskfmm.profiling import timeline

        return timeline.draw(self.tasks, self.threads(), self.totals(), self._notes(), path)

    def text(self, by: str | Sequence[str] = "operator") -> str:
        """Totals, the table and the threads, to read."""
        if not self._records:
            return "\n".join(self._notes())
        return "\n".join(
            [
                tables.summary(self.totals()),
                *self._notes(),
                "",
                *tables.operators(self.table(by)),
                "",
                *tables.threads(self.threads()),
            ]
        )

    def _notes(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        if self._n_unseen():
            return [UNSEEN % self._n_unseen()]
        return [] if self._records else [NOTHING]

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        found = self.totals()
        return f"<taskfmm.profile: {found['tasks']} tasks, {found['elapsed_seconds']:.3f} s>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _client(asked: Any) -> Any:
    """The client whose workers shall report, or None."""
    distributed = sys.modules.get("distributed")
    client = asked
    if client is None and distributed is not None:
        try:
            client = distributed.default_client()
        except ValueError:
            return None
    if getattr(client, "asynchronous", False):
        raise InputError("the client is asynchronous: open a profile from a program with a Client of its own")
    return client


def versions() -> dict[str, str]:
    """Of taskfmm, Python and the packages that decide how tasks run."""
    return {"taskfmm": __version__, "python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES
    }
