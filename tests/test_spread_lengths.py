"""The lengths of softened points that never meet: how they are given, where they go, and what is refused."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from boxes import l2_error
from cases import each
from test_spread_softened import N, cloud, in_this_process, lazy, spread  # noqa: F401  a fixture

import taskfmm
from taskfmm import foreign
from taskfmm.errors import InputError, MemoryLimitError
from taskfmm.kernels import Gravity
from taskfmm.runtime.layout import Layout
from taskfmm.spread import depot, room


def test_lengths_may_come_in_any_form_and_chunks():
    """Lazy ones are never gathered, and results have the same bits, on any scheduler."""
    x, m = cloud("two_clusters", 74)
    h = 0.01 * np.random.default_rng(75).random(N).astype(np.float32)
    gathered = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign, "_gathered", lambda *args: gathered.append(args))
        kernels = [Gravity(each, "spline") for each in (h.tolist(), h, lazy(h), lazy(h, 400))]
        found = [
            spread(x, kernel).evaluate(m, "acceleration")["acceleration"].compute() for kernel in kernels
        ]
    for values in found[1:]:
        np.testing.assert_array_equal(values, found[0])
    assert not gathered
    assert kernels[2] == Gravity(lazy(h), "spline") != kernels[3]
    # where one process has the points, it has the lengths as well
    for whole in (
        taskfmm.Fmm(x, kernel=kernels[3], eps=1e-3).potential(m),
        taskfmm.direct(x, m, kernel=kernels[3]),
    ):
        assert l2_error(np.asarray(whole), taskfmm.direct(x, m, kernel=kernels[1])) <= 1e-3


@each("size", [1100, 500])
@each(
    "harm, says",
    [
        (lambda b: -b, r"softening row 2000 is -0.25, in chunk \d: give lengths in the unit of the points"),
        (lambda b: np.where(b > 0.0, np.inf, b), r"softening row 2000 is not finite: inf, in chunk \d"),
        (lambda b: b[:-1], r"chunk \d of softening was declared as float64 of shape \(\d+,\) and came as"),
        (
            lambda b: b + 1j,
            r"chunk \d of softening was declared as float64 of shape \(\d+,\) and came as complex",
        ),
    ],
)
def test_a_bad_length_is_told_by_row_and_chunk(harm, says, size):
    x, _ = cloud("uniform", 82)

    def harmed(chunk, block_info=None):
        ((begin, end),) = block_info[0]["array-location"]
        with np.errstate(all="ignore"):
            return (
                np.concatenate([chunk[: 2000 - begin], harm(chunk[2000 - begin :])])
                if begin <= 2000 < end
                else chunk
            )

    h = np.where(np.arange(N) == 2000, 0.25, 0.0)
    bad = lazy(h, size).map_blocks(harmed, dtype=float, meta=np.empty(0))
    with pytest.raises(InputError, match=says) as error:
        spread(x, Gravity(bad, "spline"))
    assert f"chunk {2000 // size}" in str(error.value)


@each(
    "softening, says",
    [
        (np.ones(5), "softening has 5 lengths, sources has 3000: give one for each source"),
        (da.ones(5), "softening has 5 lengths, sources has 3000: give one for each source"),
        (da.ones((N, 1)), r"softening has shape \(3000, 1\), expected one number for each source"),
        (da.ones(N, dtype=complex), "softening has dtype complex128, expected real numbers"),
        (da.ones(N)[da.ones(N) > 0.5], "softening has an unknown length"),
        (da.full(N, 1e200), r"the largest softening is 1.0e\+200, and the points are 1.0e\+00 wide"),
    ],
)
def test_lengths_that_cannot_be_are_refused(softening, says):
    with pytest.raises(InputError, match=says):
        spread(cloud("uniform", 83)[0], Gravity(softening, "spline"))


def test_a_kernel_without_its_lengths_is_refused():
    with pytest.raises(InputError, match="has no softening lengths: make it with"):
        spread(cloud("uniform", 83)[0], "spline_gravity")


def test_leaves_that_no_task_can_hold_are_refused(monkeypatch):
    """As they have to be as wide as the longest length; a cloud that is small enough is summed."""
    x, m = cloud("uniform", 84)
    kernel = Gravity(np.where(np.arange(N) == 5, 3.0, 0.0), "spline")
    monkeypatch.setattr(room, "of_workers", lambda *_: room.Room(N // 5, N - 1))
    with pytest.raises(
        MemoryLimitError, match=r"or in a box as wide as the longest softening reaches.*limit"
    ):
        spread(x, kernel)
    assert spread(x, Gravity(0.01, "spline")).n_regions > 3
    monkeypatch.setattr(room, "of_workers", lambda *_: room.Room(N // 5, N))
    assert l2_error(spread(x, kernel).potential(m).compute(), taskfmm.direct(x, m, kernel=kernel)) <= 1e-12


def test_regions_are_smaller_where_leaves_may_be_full(monkeypatch):
    """Where memory is short, as each leaf has the points of those beside it in its work."""
    monkeypatch.setattr(room.layout, "current", lambda: Layout("distributed", 2, 1, memory_limit=2**30))
    found, of_workers = [], room.of_workers

    def seen(n, *args):
        found.append(of_workers(10**8, *args))
        return found[-1]

    monkeypatch.setattr(room, "of_workers", seen)
    for kernel in (Gravity(0.0), Gravity(0.1, "spline")):
        spread(cloud("uniform", 88)[0], kernel, region=None)
    assert found[0].region == 4 * found[1].region
    assert 4.2 < found[0].most / found[1].most < 4.4


def test_files_have_lengths_only_where_sources_do():
    x, _ = cloud("uniform", 85)
    for kernel, has in ((Gravity(0.01, "spline"), True), (Gravity(0.0), False)):
        found = spread(x, kernel)
        assert ("lengths" in depot.get(found.plan.depot.path, "points", 0).names()) == has
        assert found.kernel == kernel and kernel.name in found.explain()
