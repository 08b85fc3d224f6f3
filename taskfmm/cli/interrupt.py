"""Ctrl-C ends a command within two seconds, whatever it is doing."""

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

INTERRUPTED = 130


@contextmanager
def prompt_interrupt() -> Iterator[None]:
    """Within it an interrupt is the usual KeyboardInterrupt, and the end of this process soon after.

    Where signals are not ours to handle (another thread, a handler of the caller), nothing changes.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    received = threading.Event()

    def interrupt(signum: int, frame: Any) -> None:
        received.set()
        threading.Thread(target=_end, args=(GRACE,), daemon=True).start()
        raise KeyboardInterrupt  # Python loses it if this is a callback of the garbage collector, say

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if received.is_set():
            click.echo("Aborted!", err=True)
            _end(0)  # no tour of everybody's exit handlers, some of which wait for minutes
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(seconds: float) -> None:
    """Wait; then end the processes that this one started, and this one."""
    time.sleep(seconds)
    for process in multiprocessing.active_children():
        process.kill()
    if "taskfmm.graph.reference" in sys.modules:
        sys.modules["taskfmm.graph.reference"].remove_files()
    os._exit(INTERRUPTED)
