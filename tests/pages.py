"""The page of `taskfmm.dashboard`, as a browser has it."""

from __future__ import annotations

import time

import numpy as np

from taskfmm.live.plugin import NAME


def plugin(client):
    return client.cluster.scheduler.plugins[NAME]


def document(address: str):
    """Of a browser that has just opened the page: over HTTP, then through a websocket."""
    from bokeh.client import pull_session

    session = pull_session(url=address)
    try:
        return session.document
    finally:
        session.close()


def divisions(found) -> str:
    from bokeh.models import Div

    return " ".join(each.text for each in found.select({"type": Div}))


def source_with(found, *names: str) -> dict:
    from bokeh.models import ColumnDataSource

    sources = [each.data for each in found.select({"type": ColumnDataSource})]
    return next(data for data in sources if set(names) <= set(data))


def charges(n: int = 900, seed: int = 61583) -> np.ndarray:
    """Others than in any test before, so that nothing is known of them."""
    return np.random.default_rng([seed, time.time_ns()]).uniform(-1, 1, n)
