"""Ctrl-C, or SIGTERM, ends a command within two seconds, whatever it is doing, and leaves no half-written file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

GRACE = 1.2
"""Seconds to close in order; a loop that does not look up, or an exception lost in a callback, gets no more."""

DEFAULTS: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
"""What Python does about signals unless somebody says otherwise."""


@contextmanager
def prompt_interrupt() -> Iterator[None]:
    """Within it SIGINT and SIGTERM are the usual KeyboardInterrupt, and the end of this process soon after.

    The exit code is 128 and the number of the signal, as shells have it. Where signals are not ours to handle, as in
    another thread or where the caller has a handler, nothing changes.
    """
    in_main = threading.current_thread() is threading.main_thread()
    ours = [number for number, usual in DEFAULTS.items() if in_main and signal.getsignal(number) == usual]
    received: list[int] = []

    def interrupt(signum: int, frame: Any) -> None:
        received.append(signum)
        threading.Thread(target=_end, args=(GRACE, signum), daemon=True).start()
        raise KeyboardInterrupt  # Python loses it if this is a callback of the garbage collector, say

    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if received:
            click.echo("Aborted!", err=True)
            _end(0, received[0])  # no tour of everybody's exit handlers, some of which wait for minutes
        raise
    finally:
        for number in ours:
            signal.signal(number, DEFAULTS[number])


def _end(seconds: float, signum: int) -> None:
    """Wait; then end the processes that this one started, remove what is not whole, and end this process."""
    time.sleep(seconds)
    for process in multiprocessing.active_children():
        process.kill()
    if "taskfmm.graph.reference" in sys.modules:
        sys.modules["taskfmm.graph.reference"].remove_files()
    if "taskfmm.files.disk" in sys.modules:
        sys.modules["taskfmm.files.disk"].remove_unfinished()
    os._exit(128 + signum)
