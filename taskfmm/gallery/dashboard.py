"""The operators of the method on Dask's dashboard, while two worker processes evaluate a million charges.

``python -m taskfmm.gallery.dashboard`` prints the address to open in a browser. With ``--picture FILE`` Chromium,
without a window, takes a picture of the page towards the end of the last evaluation. ``--page taskfmm`` is the page
of `taskfmm.dashboard`, which counts from the second evaluation on.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from distributed import Client, LocalCluster, wait
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

import taskfmm
from taskfmm.generate import cloud, new_seed
from taskfmm.profiling.names import operator_of

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0"
)

SIZE = "1200,1000"
"""Of the window, in pixels."""


Ask = Callable[..., Awaitable[dict[str, Any]]]
"""Calls a method of Chromium's DevTools by its name, with its parameters; gives the result."""


@asynccontextmanager
async def opened(address: str) -> AsyncIterator[Ask]:
    """A page in Chromium without a window."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise click.ClickException(f"a picture needs one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *OPTIONS.split(), f"--user-data-dir={profile}", f"--window-size={SIZE}", address]
        chromium = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            port = Path(profile, "DevToolsActivePort")
            while not port.exists() or not port.read_text():
                await asyncio.sleep(0.1)
            pages = f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"
            found = json.loads((await AsyncHTTPClient().fetch(pages)).body)
            page = next(each for each in found if each["type"] == "page")
            devtools = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=2**26)

            async def ask(method: str, **parameters: Any) -> dict[str, Any]:
                await devtools.write_message(json.dumps({"id": 1, "method": method, "params": parameters}))
                return json.loads(await devtools.read_message() or "")["result"]

            yield ask
            devtools.close()
        finally:
            chromium.terminate()
            chromium.wait()


async def photograph(
    address: str, start: Callable[[], Any], ready: Callable[[], bool], picture: Path
) -> None:
    """Open a page, start what it should show, and take a picture when it is ready."""
    async with opened(address) as ask:
        await asyncio.sleep(8)  # the page draws itself when its scripts have talked to the scheduler
        start()
        while not ready():
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        picture.write_bytes(base64.b64decode((await ask("Page.captureScreenshot"))["data"]))


@click.command()
@click.option("-n", "n", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Points.")
@click.option("--eps", type=float, default=1e-6, show_default=True, help="Relative error of the potential.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Worker processes.")
@click.option("--evaluations", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="A PNG of the dashboard.")
@click.option("--page", default="status", show_default=True, help="Of the dashboard, in the picture.")
@click.option("--share", default=0.8, show_default=True, help="Of the tasks that are done in the picture.")
def main(
    n: int, eps: float, workers: int, evaluations: int, picture: Path | None, page: str, share: float
) -> None:
    """Evaluate random charges on a local cluster, again and again, to be watched."""
    sources, charges = cloud("cube", n, signed=True, seed=new_seed())
    rng = np.random.default_rng()
    options = dict(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        fmm, own = taskfmm.Fmm(sources, eps=eps), ""
        if page == "taskfmm":
            # workers read operators and loops first
            wait(client.persist(fmm.potential(charges)))
            own = taskfmm.dashboard(client)
        click.echo(f"dashboard           {own or client.dashboard_link}")
        for _ in range(evaluations):
            started = time.perf_counter()
            wait(client.persist(fmm.potential(charges)))
            click.echo(f"evaluation          {time.perf_counter() - started:8.2f} s")
            charges = rng.permutation(charges)
        if picture is not None:
            phi = fmm.potential(charges)
            running: list[Any] = []
            n_most = share * sum(operator_of(key) is not None for key in phi.__dask_graph__())
            done: set[Any] = set()

            def most_done() -> bool:
                states = list(cluster.scheduler.tasks.items())
                done.update(key for key, state in states if state.state in ("memory", "released"))
                return len(done) >= n_most

            address = own or client.dashboard_link.removesuffix("status") + page
            start = lambda: running.append(client.persist(phi))  # noqa: E731
            asyncio.run(photograph(address, start, most_done, picture))
            wait(running)


if __name__ == "__main__":
    main()
