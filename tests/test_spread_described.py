"""What a plan of points that never meet tells of itself: what is there, and what was foretold without points."""

from __future__ import annotations

from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from cases import each, size_of

import taskfmm
from taskfmm.errors import InputError
from taskfmm.spread import Spread, forecast
from taskfmm.spread.ahead import Ahead

N, LEAF, REGION = 20_000, 60, 5000
ON = dict(workers=2, memory_limit="2GiB", threads=1, cores=2)


def planned(n_targets: int = 0, **options) -> Spread:
    rng = np.random.default_rng(110)
    points = rng.random((N, 3))
    targets = da.from_array(rng.random((n_targets, 3)), chunks=(1500, 3)) if n_targets else None
    with dask.config.set(scheduler="synchronous"):
        return taskfmm.Fmm.from_dask(
            da.from_array(points, chunks=(4000, 3)), targets, leaf_size=LEAF, region=REGION, **options
        )


@each(
    "n_targets, kernel",
    [(0, "laplace"), (0, taskfmm.kernels.Stokes(1.0)), (3000, "laplace"), (0, taskfmm.kernels.Yukawa(3.0))],
)
def test_the_graph_is_that_of_an_evaluation(n_targets, kernel):
    plan = planned(n_targets, kernel=kernel, eps=1e-2)
    given = plan.kernel.sources[0]
    charges = da.zeros((N, *given.of_one), chunks=(4000, *given.of_one))
    found = plan.evaluate(**{given.argument or "charges": charges}, outputs=plan.kernel.names[0])
    tasks, edges = size_of(list(found.values()), charges)
    assert plan.forecast(**ON).graph == {"tasks": tasks, "edges": edges}
    more = -(-n_targets // 1500)
    assert plan.forecast(**ON).planning["edges"] == 5 + more


def test_it_is_what_is_there():
    plan = planned(eps=1e-3)
    found = plan.forecast(**ON)
    fmm = taskfmm.Fmm(np.random.default_rng(110).random((N, 3)), eps=1e-3, leaf_size=LEAF)
    assert found.regions.boxes == fmm.plan.tree.n_boxes
    assert found.regions.leaves == fmm.plan.tree.is_leaf.sum()
    assert found.regions.n_levels == fmm.plan.tree.n_levels
    assert found.accuracy == plan.accuracy("potential")  # of lazy charges
    written = sum(path.stat().st_size for path in Path(plan.plan.depot.path).iterdir())
    assert found.disk_bytes == pytest.approx(written, rel=0.15)


def test_it_is_what_was_foretold():
    plan = planned(eps=1e-6)
    found = plan.forecast(**ON)
    like = np.random.default_rng(111).random((N, 3))
    before = forecast(N, like, leaf_size=LEAF, region=REGION, chunks=5, **ON)
    assert found.graph["tasks"] == pytest.approx(before.graph["tasks"], rel=0.15)
    for name, seconds in before.regions.seconds.items():
        assert found.regions.seconds[name] == pytest.approx(seconds, rel=0.2, abs=1e-3)
    assert found.planning == before.planning
    assert found.regions.work_bytes == pytest.approx(before.regions.work_bytes, rel=0.1)
    assert found.memory["peak"] == pytest.approx(before.memory["peak"], rel=0.1)


def test_words_and_data():
    plan = planned(eps=1e-3)
    assert "20,000 points (as planned), kernel laplace" in plan.explain(**ON)
    assert plan.facts(**ON) == plan.forecast(**ON).facts()
    shown = plan._repr_html_()
    for each_ in ("taskfmm.spread.Spread", "20,000", "regions", "peak memory", "expected"):
        assert each_ in shown
    assert not plan.forecast(workers=1, memory_limit="200MiB").fits


def test_what_is_left_out_is_that_of_the_layout_in_use():
    with dask.config.set(scheduler="threads", num_workers=3):
        found: Ahead = planned(eps=1e-2).forecast()
    assert (found.workers, found.threads, found.cores) == (1, 3, 3)


@pytest.mark.parametrize(
    "given, says", [(dict(workers=0), "workers is 0"), (dict(memory_limit="x"), "memory_limit")]
)
def test_wrong_arguments(given, says):
    with pytest.raises(InputError, match=says):
        planned(eps=1e-2).forecast(**given)


def test_without_points():
    empty = taskfmm.Fmm.from_dask(da.zeros((0, 3), chunks=(1, 3)))
    assert "taskfmm.spread.Spread" in empty._repr_html_()
    with pytest.raises(InputError, match="nothing to foretell"):
        empty.forecast()
