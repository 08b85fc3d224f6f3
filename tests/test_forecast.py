"""The forecast: every task counted, Dask's order foretold, and bounds that no schedule can leave."""

from __future__ import annotations

import copy
import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import dask
import numpy as np
import pytest
from bounds import FAMILIES, WORKS
from cases import each
from dask import threaded
from hypothesis import given
from hypothesis import strategies as st

import taskfmm
from taskfmm.cost.counts import Counts
from taskfmm.cost.rates import DEFAULT
from taskfmm.errors import InputError
from taskfmm.forecast.effort import efforts
from taskfmm.forecast.forecast import _bare
from taskfmm.forecast.schedule import Tasks, critical_path, simulate
from taskfmm.operators.levels import Operators
from taskfmm.passes.given import Given
from taskfmm.plan import cost
from taskfmm.plan.cost import row_sums
from taskfmm.runtime import layout, threads
from taskfmm.runtime.layout import Layout

BOTH = ("potential", "gradient")


def of(fmm, charges):
    return Given(fmm.kernel.of_first, (charges,))


def counted(fmm, outputs):
    operators = Operators(fmm.kernel.of_first, fmm.accuracy(outputs[-1])).of((0,))
    return efforts(fmm.plan, operators, fmm.kernel.of_first, outputs, fmm.dtype.itemsize), operators.at(0)


def total(found, operator, name):
    return sum(effort.counts.shared.get(name, 0.0) for key, effort in found.items() if key[0] == operator)


def multiplied(work, form) -> float:
    """What M2L multiplies for the children of neighbouring parents that there are."""
    total, k = 0.0, form.source_parity.shape[1]
    far = np.array([[(d & (t | ~o) & 7) != 0 for t in range(8) for o in range(8)] for d in range(8)])
    direction = np.repeat(np.tile(np.arange(1, 8), len(work.code_ptr)), np.diff(work.code_ptr).ravel())
    octant = np.arange(8)
    for d in range(1, 8):
        here = direction == d
        reflected = octant ^ work.mirror[here, None]
        sources = work.source_child[work.source[here, None], reflected] >= 0
        targets = work.target_child[work.target[here, None], reflected] >= 0
        for part in form.parts:
            of_sources, of_targets = part.source_rank[d, octant & d], part.target_rank[d, octant & d]
            total += k * ((sources @ of_sources).sum() + (targets @ of_targets).sum())
            meet = np.einsum("nt,no->to", targets.astype(float), sources.astype(float))
            total += (meet * np.multiply.outer(of_targets, of_sources) * far[d].reshape(8, 8)).sum()
    return total


@each("outputs", [("potential",), ("gradient",), BOTH])
def test_every_task_is_counted_and_no_other(fmm, charges, outputs):
    graph, _ = fmm._evaluator.graph(of(fmm, charges), outputs)
    assert {_bare(key) for key in graph} == set(counted(fmm, outputs)[0])


def test_a_forecast_at_a_prompt_is_one_line(clustered):
    found = clustered.forecast()
    assert repr(found) == f"<Forecast of potential: {len(found.keys):,} tasks, {found.seconds:.3g} s>"


def test_counts_are_those_of_the_lists(fmm):
    found, at = counted(fmm, ("potential",))
    tree, lists = fmm.plan.tree, fmm.plan.lists
    n_sources = np.diff(tree.source_ptr, axis=1)[:, 0]
    n_targets = np.diff(tree.target_ptr, axis=1)[:, 0]
    n_surface = at.upward_check.shape[1]
    near = total(found, "P2P", "near_one") + 2 * total(found, "P2P", "near_two")
    assert near == (n_targets * row_sums(lists.u.ptr, n_sources[lists.u.idx])).sum()
    assert total(found, "P2M", "surface_pair") == n_surface * len(fmm.sources)
    assert total(found, "L2P", "surface_pair") == n_surface * len(fmm.targets)
    assert total(found, "M2P", "surface_pair") == n_surface * (n_targets * np.diff(lists.w.ptr)).sum()
    assert total(found, "P2L", "surface_pair") == n_surface * n_sources[lists.x.idx].sum()
    products = sum(total(found, "M2L", f"m2l_multiply_add_{bits}") for bits in (32, 64))
    works = [shard.m2l for level in fmm.plan.far for shard in level if shard.m2l]
    assert products == pytest.approx(sum(multiplied(work, at.m2l) for work in works), rel=FAMILIES)


def test_planning_and_forecasts_count_the_same(fmm):
    """Summed over boxes, and over tasks."""
    found, at = counted(fmm, ("potential",))
    each, planned = (cost.counted(fmm.plan.tree, fmm.plan.lists, at, each=each) for each in (True, False))
    assert planned.keys() == {key[0] for key in found} - {"charges", "potential"}
    for operator, boxes in planned.items():
        rel = FAMILIES if operator == "M2L" else 1e-9
        assert each[operator].seconds(DEFAULT).sum() == pytest.approx(boxes.seconds(DEFAULT), rel=rel)
        tasks = [effort.counts for key, effort in found.items() if key[0] == operator]
        shared = {name: sum(task.shared[name] for task in tasks) for name in boxes.shared}
        seconds = sum(task.seconds(DEFAULT) for task in tasks)
        if operator == "M2L":  # works know how full batches are
            seconds += Counts(boxes.shared).seconds(DEFAULT) - Counts(shared).seconds(DEFAULT)
            assert boxes.shared["m2l_meeting"] == pytest.approx(shared["m2l_meeting"], rel=WORKS)
        for name in boxes.shared.keys() & {"surface_pair", "multiply_add"}:
            assert boxes.shared[name] == pytest.approx(shared[name])
        for name in boxes.shared.keys() & {"m2l_multiply_add_32", "m2l_multiply_add_64"}:
            assert boxes.shared[name] == pytest.approx(shared[name], rel=FAMILIES)
        one, two = ([c.get(f"near_{sides}", 0.0) for c in (boxes.shared, shared)] for sides in ("one", "two"))
        assert one[0] + 2 * two[0] == pytest.approx(one[1] + 2 * two[1])
        assert boxes.seconds(DEFAULT) == pytest.approx(seconds, rel=WORKS), operator


@pytest.mark.parametrize("outputs", [("potential",), BOTH])
def test_bytes_are_those_of_the_tasks(clustered, outputs):
    """Results to the byte; scratch by what NumPy and Numba allocate in a task."""
    fmm = taskfmm.Fmm(clustered.sources, order=8, leaf_size=30)  # tasks of ordinary size
    graph, _ = fmm._evaluator.graph(of(fmm, np.ones(len(fmm.sources))), outputs)
    found, _ = counted(fmm, outputs)
    measured = {}

    def watched(key, function):
        def run(*args):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            result = function(*args)
            peak = tracemalloc.get_traced_memory()[1] - before
            # what other threads of this process allocate meanwhile is counted too: the least of several
            measured[key] = (result.nbytes, min(peak, measured.get(key, (0, peak))[1]))
            return result

        return run

    for key, task in list(graph.items()):
        graph[key] = copy.copy(task)
        graph[key].func = watched(_bare(key), task.func)
    with dask.config.set(scheduler="synchronous"):
        dask.get(graph, list(graph))  # once, so that whatever is made once is there
    measured.clear()
    tracemalloc.start()
    try:
        for _ in range(3):
            dask.get(graph, list(graph))
    finally:
        tracemalloc.stop()
    small = 2**17
    assert max(effort.scratch for effort in found.values()) > 10 * small
    for key, effort in found.items():
        result, peak = measured[key]
        assert effort.result == result, key
        assert peak <= 1.05 * (effort.result + effort.scratch) + small, key
        assert effort.result + 0.5 * effort.scratch <= peak + small, key


def test_one_thread_runs_the_tasks_in_the_foretold_order(clustered):
    # Dask breaks ties by the names of tasks, and so by their token: that of a forecast belongs to zero charges
    graph, chunks = clustered._evaluator.graph(
        of(clustered, np.zeros(len(clustered.sources))), ("potential",)
    )
    name, sizes = chunks["potential"]
    ran = []

    def noted(key, function):
        return lambda *args: ran.append(key) or function(*args)

    for key, task in list(graph.items()):
        graph[key] = copy.copy(task)
        graph[key].func = noted(_bare(key), task.func)
    with ThreadPoolExecutor(1) as pool:
        threaded.get(graph, [(name, i) for i in range(len(sizes))], pool=pool)
        with dask.config.set(pool=pool):
            found = clustered.forecast()
    foretold = [found.keys[i] for i in np.argsort(found.schedule.begin, kind="stable")]
    assert foretold == ran


def graphs():
    """Small graphs whose tasks read earlier ones."""
    inputs = st.integers(1, 12).flatmap(
        lambda n: st.tuples(*(st.sets(st.integers(0, max(0, i - 1)), max_size=3) for i in range(n)))
    )
    return inputs.map(lambda found: [sorted(s) if i else [] for i, s in enumerate(found)])


@given(graphs(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_schedules_keep_the_bounds_of_any_list_schedule(inputs, threads, random):
    n = len(inputs)
    sizes = np.array([random.randint(0, 9) for _ in range(n)], float)
    seconds = np.array([random.randint(1, 9) for _ in range(n)], float)
    tasks = Tasks(inputs, range(n), seconds, sizes, np.zeros(n))
    longest = seconds[critical_path(tasks)].sum()
    for at in (Layout("threads", 1, threads), Layout("distributed", threads, 1)):
        found = simulate(tasks, at)
        assert max(longest, seconds.sum() / threads) <= found.seconds
        assert found.seconds <= seconds.sum() / threads + longest  # Graham 1969
        for task, sources in enumerate(inputs):
            assert all(found.end[source] <= found.begin[task] for source in sources)
        assert found.peak.sum() <= sizes.sum() * at.workers


def test_critical_path_and_peak_of_a_graph_done_by_hand():
    #   0 (1 s, 10 B) -> 1 (5 s, 20 B) -> 3 (1 s, 1 B);  0 -> 2 (2 s, 40 B, 100 B scratch) -> 3
    tasks = Tasks(
        [[], [0], [0], [1, 2]],
        [0, 1, 2, 3],
        np.array([1.0, 5.0, 2.0, 1.0]),
        np.array([10.0, 20.0, 40.0, 1.0]),
        np.array([0.0, 0.0, 100.0, 0.0]),
    )
    assert critical_path(tasks) == [0, 1, 3]
    one, two = (simulate(tasks, Layout("threads", 1, t)) for t in (1, 2))
    assert (one.seconds, two.seconds) == (9.0, 7.0)
    assert one.peak[0] == two.peak[0] == 10 + 20 + 40 + 100
    apart = simulate(tasks, Layout("distributed", 2, 1), byte_seconds=0.01)
    assert apart.sent == 10 + 20  # the charges one way, the smaller part back
    assert apart.seconds == pytest.approx(7.0 + 0.2)


def test_results_are_dropped_when_all_have_read_them():
    chain = Tasks([[], [0], [1], [2]], [0, 1, 2, 3], np.ones(4), np.full(4, 10.0), np.zeros(4))
    assert simulate(chain, Layout("threads")).peak[0] == 20.0
    assert simulate(chain, Layout("distributed", 2, 1)).peak.max() == 20.0


def test_more_loop_threads_help_as_far_as_there_are_blocks(clustered):
    found, _ = counted(clustered, ("potential",))
    for effort in found.values():
        one, two, many = (effort.seconds(DEFAULT, threads) for threads in (1, 2, 1000))
        assert one >= two >= many > 0
        assert (two == one) == (effort.blocks == 1 or not effort.counts.shared)


def test_a_gradient_and_more_points_are_foretold_to_take_longer(clustered):
    assert clustered.forecast(BOTH).task_seconds > clustered.forecast().task_seconds
    some = taskfmm.Fmm(clustered.sources[::4], order=3, leaf_size=30)
    assert some.forecast().task_seconds < clustered.forecast().task_seconds


def test_facts_are_plain_data(fmm):
    found = fmm.facts(BOTH)
    assert json.loads(json.dumps(found))["forecast"]["outputs"] == list(BOTH)
    forecast = found["forecast"]
    assert forecast["tasks"] == sum(found["tasks"].values()) == len(fmm.forecast(BOTH).keys)
    graph, _ = fmm._evaluator.graph(of(fmm, np.zeros(len(fmm.sources))), BOTH)
    assert forecast["edges"] == sum(len(task.dependencies) for task in graph.values())
    assert forecast["parallelism"] >= 1.0
    assert forecast["largest_task"]["bytes"] > 0
    text = fmm.explain(BOTH)
    assert all(word in text for word in ("critical path", "peak memory", "expected", "M2P", "gradient"))


def test_nothing_is_foretold_without_points():
    empty = taskfmm.Fmm(np.empty((0, 3)))
    with pytest.raises(InputError, match="no sources"):
        empty.forecast()
    assert "nothing to do" in empty.explain()


def test_the_layout_is_that_of_the_scheduler_in_use(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.setattr(threads, "most_numba_threads", lambda: 8)
    with dask.config.set(scheduler="synchronous"):
        assert layout.current() == Layout("synchronous", 1, 1, 8)
    with dask.config.set(scheduler="threads", num_workers=2):
        assert layout.current() == Layout("threads", 1, 2, 4)
    with dask.config.set(scheduler="processes", num_workers=3):
        assert layout.current() == Layout("processes", 3, 1, 1)
    with ThreadPoolExecutor(5) as pool, dask.config.set(pool=pool):
        assert layout.current() == Layout("threads", 1, 5, 1)
    with ThreadPoolExecutor(2) as pool, dask.config.set(scheduler=pool):
        assert layout.current() == Layout("threads", 1, 2, 4)
    monkeypatch.setattr(threads, "threading_layer", lambda: "workqueue")
    with dask.config.set(scheduler="threads", num_workers=2):
        assert layout.current().loop_threads == 1


def test_measured_rates_make_the_operators_they_were_measured_on_come_out_right():
    from taskfmm import calibrate

    class Measured(calibrate._Operators):
        def __init__(self, fmm, outputs):
            self.efforts, _ = counted(fmm, outputs)
            truth = DEFAULT.__class__(near_one=3 * DEFAULT.near_one)
            self.seconds = {"P2P": sum(e.seconds(truth) for k, e in self.efforts.items() if k[0] == "P2P")}

    rng = np.random.default_rng(91)
    fmm = taskfmm.Fmm(rng.random((2000, 3)), rng.random((2000, 3)), order=3, leaf_size=50)
    found = Measured(fmm, ("potential",)).solve(DEFAULT, "P2P", "near_one")
    assert found["near_one"] == pytest.approx(3 * DEFAULT.near_one)


def test_levels_of_the_critical_path_go_up_and_down(clustered):
    found = clustered.forecast()
    path = [found.keys[i] for i in found.path]
    assert path[0][0] == "charges" and path[-1][0] == "potential"
    downward = [key[1] for key in path if key[0] == "L2L"]
    assert all(a < b for a, b in pairwise(downward))
