"""The graph: the serial bits under every scheduler, every operator visible, pure picklable tasks."""

from __future__ import annotations

import dataclasses
import pickle
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from cases import each
from dask.callbacks import Callback

import taskfmm
from taskfmm.forecast import effort
from taskfmm.graph import reference
from taskfmm.graph.reference import Reference
from taskfmm.graph.spec import OperatorTask
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Operators
from taskfmm.passes import operators as table
from taskfmm.passes.operators import FAR
from taskfmm.plan.works import FarShard
from taskfmm.profiling.names import LEVELED
from taskfmm.report import drawing

OPERATORS = {"P2M", "M2M", "M2L", "P2L", "L2L", "L2P", "M2P", "P2P"}


def operators(keys) -> Counter:
    """Number of tasks by what stands before the dash in the key; Dask's own last task has a bare name."""
    return Counter(key[0].split("-")[0] for key in keys if isinstance(key, tuple))


def graph_of(array) -> dict:
    return dict(array.__dask_graph__())


def tasks_of(keys) -> list:
    """Every task by its whole key: Dask names a chain of two after the first, and the second stays as an alias."""
    return sorted(key for key in keys if isinstance(key, tuple))


class Run(Callback):
    """Collects the keys that ran."""

    def __init__(self):
        self.keys = []
        super().__init__(posttask=lambda key, *_: self.keys.append(key))


@pytest.fixture(scope="module")
def serial():
    """Serial results, computed once for each plan and output."""
    known = {}

    def get(fmm, charges, output="potential"):
        if (id(fmm), output) not in known:
            known[id(fmm), output] = fmm.serial(charges, output)
        return known[id(fmm), output]

    return get


@each("output", ["potential", "gradient"])
@each("how", [{"scheduler": "synchronous"}, *({"scheduler": "threads", "num_workers": n} for n in (1, 2, 3))])
def test_every_scheduler_gives_the_serial_bits(fmm, charges, serial, how, output):
    found = fmm.evaluate(charges, output)[output].compute(**how)
    np.testing.assert_array_equal(found, serial(fmm, charges, output))


def test_the_default_scheduler_gives_the_serial_bits(fmm, charges, serial):
    np.testing.assert_array_equal(fmm.potential(charges).compute(), serial(fmm, charges))
    np.testing.assert_array_equal(np.asarray(fmm.potential(charges)), serial(fmm, charges))


def test_processes_give_the_serial_bits(tiny):
    fmm, charges = tiny
    found = fmm.potential(charges).compute(scheduler="processes", num_workers=2)
    np.testing.assert_array_equal(found, fmm.serial(charges))


def test_a_cluster_of_threads_gives_the_serial_bits(tiny):
    distributed = pytest.importorskip("distributed")
    fmm, charges = tiny
    options = dict(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0")
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        found = fmm.potential(charges).compute()
    np.testing.assert_array_equal(found, fmm.serial(charges))


@each("active", [None, False, True])
def test_every_operator_keeps_its_name(clustered, active):
    """Dask's own optimisation, under any setting of fusion, leaves all tasks apart."""
    phi = clustered.potential(np.ones(len(clustered.sources)))
    before = tasks_of(graph_of(phi))
    with dask.config.set({"optimization.fuse.active": active}):
        (optimised,) = dask.optimize(phi)
        direct = phi.__dask_optimize__(phi.__dask_graph__(), phi.__dask_keys__())
        with Run() as run:
            phi.compute(scheduler="synchronous")
    assert set(operators(before)) > OPERATORS
    assert tasks_of(graph_of(optimised)) == before
    assert tasks_of(dict(direct)) == before
    assert tasks_of(run.keys) == before


def test_work_around_it_may_fuse(clustered, charges_of):
    """Other Dask work composes with ours, and does not swallow it."""
    q = charges_of(clustered)
    composed = (2.0 * clustered.potential(da.from_array(q, chunks=2000) + 0.0)).sum()
    with Run() as run:
        found = composed.compute(scheduler="synchronous")
    assert set(operators(run.keys)) > OPERATORS
    np.testing.assert_allclose(found, 2.0 * clustered.serial(q).sum(), rtol=1e-12)


@pytest.fixture(scope="module")
def charges_of():
    return lambda fmm: np.random.default_rng(3391753).uniform(-1, 1, len(fmm.sources))


def in_order(graph) -> list:
    """Keys, each after those it needs."""
    return sorted(graph, key=dask.order.order(graph).get)


def arrays(value) -> list[np.ndarray]:
    """Every array in it, all the way down."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, Reference):
        return arrays(value.value)
    if isinstance(value, dict):
        value = list(value.values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return [found for each in value for found in arrays(each)] if isinstance(value, (list, tuple)) else []


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("output", ["potential", "gradient"])
def test_tasks_are_pure_and_picklable(clustered, charges_of, output, small, monkeypatch):
    """Each task, and again after a round trip through pickle: the same bits, and its inputs as before; with works by
    value and by reference."""
    monkeypatch.setattr(reference, "SMALL", 10**9 if small else 0)
    q = charges_of(clustered)
    graph = graph_of(clustered.evaluate(q, output)[output])
    results = {}
    for key in in_order(graph):
        task = graph[key]
        again = pickle.loads(pickle.dumps(task))
        assert again.key == key
        inputs = {name: results[name] for name in task.dependencies}
        given = arrays([inputs, list(task.args)])
        before = [array.copy() for array in given]
        found, other = task(inputs), again(inputs)
        np.testing.assert_array_equal(found, other, err_msg=str(key))
        for array, old in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, old, err_msg=str(key))
        results[key] = found
        assert found.base is None or found.base.nbytes <= found.nbytes, "holds more than it shows"
    np.testing.assert_array_equal(
        np.concatenate([results[k] for k in graph if k[0].startswith(output)]), clustered.serial(q, output)
    )


def test_tasks_leave_inputs_unchanged(clustered, charges_of):
    q = charges_of(clustered)
    before = q.copy()
    graph = graph_of(clustered.potential(q))
    digest = {key: pickle.dumps(task) for key, task in graph.items()}
    clustered.potential(q).compute()
    np.testing.assert_array_equal(q, before)
    assert all(pickle.dumps(task) == digest[key] for key, task in graph.items())


def test_what_is_not_asked_for_costs_nothing(clustered, charges_of):
    q = charges_of(clustered)
    out = clustered.evaluate(q, ("potential",))
    graph = graph_of(out["potential"])
    assert list(out) == ["potential"]
    assert "gradient" not in operators(graph)
    names = [a for task in graph.values() for a in task.args if isinstance(a, str)]
    assert "potential" in names
    assert "gradient" not in names
    out = clustered.evaluate(q, ("gradient",))
    assert list(out) == ["gradient"]
    assert "potential" not in operators(graph_of(out["gradient"]))


def test_both_outputs_share_their_tasks(clustered, charges_of):
    q = charges_of(clustered)
    one = operators(graph_of(clustered.evaluate(q, ("gradient",))["gradient"]))
    with Run() as run:
        found = dask.compute(clustered.evaluate(q), scheduler="synchronous")[0]
    ran = operators(run.keys)
    assert len(set(run.keys)) == len(run.keys)
    assert ran["P2P"] == len(clustered.plan.near)
    assert {k: n for k, n in ran.items() if k != "potential"} == dict(one)
    assert ran["potential"] == len(clustered.plan.chunks)
    np.testing.assert_array_equal(found["gradient"], clustered.serial(q, "gradient"))


def test_one_task_for_each_operator_and_shard(clustered):
    plan = clustered.plan
    found = operators(graph_of(clustered.potential(np.ones(len(clustered.sources)))))
    for operator in OPERATORS - {"P2P", "L2L"}:
        works = sum(getattr(s, operator.lower()) is not None for level in plan.far for s in level)
        assert found[operator] == works > 0, operator
    assert found["P2P"] == len(plan.near)
    assert found["charges"] == len(plan.charges) > 1
    assert found["potential"] == len(plan.chunks)


def test_one_table_names_the_operators():
    """Shards, counts, pictures and colours have the operators of the table, no others and none less."""
    works = {field.name for field in dataclasses.fields(FarShard)} - {"level", "number", "n_boxes"}
    assert works == {name.lower() for name in FAR} and set(table.OPERATORS) == {*FAR, "P2I", "P2P"}
    assert set(table.OPERATORS) - set(OPERATORS) == {"P2I", "I2L"}  # of periodic boxes only
    assert set(LEVELED) == set(drawing.COLUMNS) == set(table.OPERATORS)
    assert all(callable(getattr(effort._Counting, name.lower())) for name in table.OPERATORS)
    given = {name for what in ("multipole", "local", "values", "moments") for name in table.giving(what)}
    assert given == set(table.OPERATORS)


def test_the_near_field_is_ready_from_the_start(clustered):
    graph = graph_of(clustered.potential(np.ones(len(clustered.sources))))
    for key, task in graph.items():
        if key[0].startswith("P2P-"):
            assert {d[0].split("-")[0] for d in task.dependencies} == {"charges"}


def test_keys_name_the_question(tiny):
    """The same question has the same keys, another one has others."""
    fmm, q = tiny
    again = taskfmm.Fmm(fmm.sources, order=3, leaf_size=20)
    assert fmm.potential(q).name == again.potential(q.copy()).name
    others = [
        fmm.potential(q * 2),
        fmm.evaluate(q)["potential"],
        taskfmm.Fmm(fmm.sources * 2, order=3, leaf_size=20).potential(q),
        taskfmm.Fmm(fmm.sources, order=4, leaf_size=20).potential(q),
        taskfmm.Fmm(fmm.sources, order=3, leaf_size=21).potential(q),
        taskfmm.Fmm(fmm.sources, kernel="one", order=3, leaf_size=20).potential(q),
        taskfmm.Fmm(fmm.sources, order=3, leaf_size=20, dtype=np.float32).potential(q),
        taskfmm.Fmm(fmm.sources, fmm.sources + 1.0, order=3, leaf_size=20).potential(q),
    ]
    assert len({fmm.potential(q).name, *(o.name for o in others)}) == 1 + len(others)


def referred(task) -> list[Reference]:
    """The references among the arguments of a task, also those in lists."""
    listed = [b for a in task.args for b in (a.args if hasattr(a, "args") else [a])]
    assert not any(
        isinstance(a, np.ndarray) or dataclasses.is_dataclass(type(a)) for a in listed if not small(a)
    )
    return [a for a in listed if isinstance(a, Reference)]


def small(argument) -> bool:
    return isinstance(argument, (Operators, Kernel, str, int, float))


def test_tasks_refer_to_arrays_and_hold_none(clustered, charges_of):
    """Each shard of charges and each work is in one task, but for chunks, which every output has."""
    graph = graph_of(clustered.potential(charges_of(clustered)))
    refs = {key: referred(task) for key, task in graph.items() if isinstance(task, OperatorTask)}
    assert len(refs) == len(graph)
    names = Counter(ref.name for found in refs.values() for ref in found)
    assert set(names.values()) == {1}
    holders = {
        key[0].split("-")[0]
        for key, found in refs.items()
        if any(r.name.startswith("charges") for r in found)
    }
    assert holders == {"charges"}
    works = {name for name in clustered._evaluator.works.values if not name.startswith("sources")}
    assert {name for name in names if not name.startswith("charges")} == works


def test_a_dask_array_in_several_chunks(fmm, charges, serial):
    lazy = da.from_array(charges, chunks=1111)
    np.testing.assert_array_equal(fmm.potential(lazy).compute(), serial(fmm, charges))


def test_the_result_is_lazy_and_chunked(clustered):
    phi = clustered.evaluate(np.ones(len(clustered.sources)))
    n = len(clustered.sources)
    assert isinstance(phi["potential"], da.Array)
    assert phi["potential"].shape == (n,)
    assert phi["gradient"].shape == (n, 3)
    assert phi["potential"].chunks == (tuple(c.end - c.begin for c in clustered.plan.chunks),)
    assert phi["gradient"].chunks == (*phi["potential"].chunks, (3,))
    assert phi["potential"].dtype == np.float64


def test_any_slice_can_be_computed_alone(clustered, charges_of):
    q = charges_of(clustered)
    phi = clustered.evaluate(q)["gradient"]
    np.testing.assert_array_equal(phi[1490:1510, 1].compute(), clustered.serial(q, "gradient")[1490:1510, 1])
