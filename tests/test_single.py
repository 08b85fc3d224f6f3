"""All stages in float32: results in float32, an eps that allows it, a kernel with a degree."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import FLOAT32_ERROR
from boxes import l2_error
from cases import each
from numba import njit

import taskfmm
from taskfmm.generate import cloud
from taskfmm.kernels import (
    BiotSavart,
    Laplace,
    Stokes,
    Yukawa,
    examples,
    function,
    instances,
    single,
    works_in_single,
)

N = 3000


def clouds(name, rng):
    if name == "pairs":  # closer than float32 can tell, if places are measured from the leaf
        x = rng.random((N, 3))
        x[1::2] = x[::2] + 1e-7 * rng.standard_normal((N // 2, 3))
        return x
    if name == "twice":
        return np.repeat(rng.random((N // 2, 3)), 2, axis=0)
    if name == "far off":
        return rng.random((N, 3)) + 1e5
    if name == "clusters":
        return np.concatenate([rng.random((N // 2, 3)), 1e5 + 1e-3 * rng.random((N // 2, 3))])
    if name == "line":
        return rng.random((N, 1)) * np.array([1.0, 0.3, 0.2])
    return cloud(name, N, signed=True, seed=5)[0]


def given(kernel, n, rng):
    return {kind.given_as: rng.uniform(-1, 1, (n, *kind.of_one)) for kind in kernel.sources}


def errors(fmm, **sources):
    outputs = fmm.kernel.names
    found = fmm.evaluate(outputs=outputs, **sources)
    targets = fmm.targets if fmm.separate else None
    exact = taskfmm.direct(fmm.sources, targets=targets, kernel=fmm.kernel, outputs=outputs, **sources)
    some = [name for name in outputs if exact[name].any()]
    return {name: l2_error(np.asarray(found[name], np.float64), exact[name]) for name in some}


KERNELS_IN_SINGLE = {
    "laplace": Laplace(),
    "biot_savart": BiotSavart(),
    "stokes": Stokes(0.5),
    "inverse_square": examples.InverseSquare(),
}


@each("name", ["cube", "sphere", "line", "pairs", "twice", "far off", "clusters"])
def test_eps_is_kept(name):
    rng = np.random.default_rng(89)
    fmm = taskfmm.Fmm(clouds(name, rng), kernel=Laplace(), eps=1e-3, leaf_size=40, dtype="float32")
    sources = given(fmm.kernel, N, rng)
    assert fmm.accuracy("hessian", **sources).dtype == "float32"
    assert max(errors(fmm, **sources).values()) <= fmm.eps
    # beside other outputs it may be computed in float64
    exact = taskfmm.direct(fmm.sources, outputs="hessian", **sources)["hessian"]
    assert l2_error(fmm.serial(output="hessian", **sources).astype(np.float64), exact) <= fmm.eps


@each("kernel", KERNELS_IN_SINGLE)
@each("name", ["cube", "pairs"])
def test_eps_is_kept_by_every_kernel(kernel, name):
    rng = np.random.default_rng(89)
    kernel, eps = KERNELS_IN_SINGLE[kernel], 1e-2
    fmm = taskfmm.Fmm(clouds(name, rng), kernel=kernel, eps=eps, leaf_size=40, dtype="float32")
    sources = given(kernel, N, rng)
    assert fmm.accuracy(kernel.names[-1], **sources).dtype == "float32"
    assert max(errors(fmm, **sources).values()) <= eps


@each("kernel", ["laplace", "stokes"])
def test_eps_is_kept_of_each_source_alone(kernel):
    rng = np.random.default_rng(90)
    kernel = KERNELS_IN_SINGLE[kernel]
    fmm = taskfmm.Fmm(rng.random((N, 3)), kernel=kernel, eps=1e-3, leaf_size=40, dtype="float32")
    for name, array in given(kernel, N, rng).items():
        array[7] *= 1e5
        assert max(errors(fmm, **{name: array}).values()) <= fmm.eps


def test_targets_of_their_own_some_at_sources():
    rng = np.random.default_rng(91)
    x = rng.random((N, 3))
    targets = np.concatenate([x[::7], x[1::7] + 1e-9, rng.random((500, 3))])
    fmm = taskfmm.Fmm(x, targets, eps=1e-3, leaf_size=40, dtype="float32")
    assert max(errors(fmm, charges=rng.uniform(-1, 1, N)).values()) <= 1e-3


def pairs(n, apart, rng):
    """Charges in pairs that nearly cancel, in a cube, and targets of their own."""
    x, step = rng.random((n // 2, 3)), rng.standard_normal((n // 2, 3))
    x = np.concatenate([x, x + apart * step / np.linalg.norm(step, axis=1, keepdims=True)])
    return x, np.repeat([1.0, -1.0], n // 2), rng.random((n // 2, 3))


def test_where_all_boxes_are_neighbours_sums_are_exact():
    """Offsets that are rounded change the distances between charges that cancel by a tenth."""
    x, q, targets = pairs(1200, 1e-6, np.random.default_rng(97))
    fmm = taskfmm.Fmm(x, targets, eps=1e-3, leaf_size=400, dtype="float32")
    assert fmm.plan.is_direct and fmm.plan.tree.n_boxes > 1
    assert max(errors(fmm, charges=q).values()) <= FLOAT32_ERROR


@each("kernel", ["laplace", "inverse_square"])
def test_near_sources_that_cancel_are_summed_in_double(kernel):
    """The only far ones are so weak that they ask for nothing."""
    rng = np.random.default_rng(98)
    kernel, (x, q, targets) = KERNELS_IN_SINGLE[kernel], pairs(1200, 1e-6, rng)
    x, q = np.concatenate([x, 10.0 + rng.random((50, 3))]), np.r_[q, np.full(50, 1e-9)]
    fmm = taskfmm.Fmm(x, targets, kernel=kernel, eps=1e-3, leaf_size=400, dtype="float32")
    assert not fmm.plan.is_direct
    (name,) = (kind.given_as for kind in kernel.sources[:1])
    assert max(errors(fmm, **{name: q}).values()) <= fmm.eps


def test_only_where_it_was_asked_for_and_does():
    assert works_in_single(Laplace()) and not works_in_single(Yukawa(2.0))
    x = np.random.default_rng(92).random((N, 3))
    q = np.ones(N)

    def dtype(**options):
        options = dict(eps=1e-3, leaf_size=40, dtype="float32") | options
        return taskfmm.Fmm(x, **options).accuracy("potential", q).dtype

    assert dtype() == "float32"
    assert dtype(order=4) == "float32"
    assert (
        dtype(dtype="float64") == dtype(eps=2e-6) == dtype(order=7) == dtype(kernel=Yukawa(2.0)) == "float64"
    )


def test_serial_threads_and_tasks_agree_bit_for_bit():
    rng = np.random.default_rng(93)
    fmm = taskfmm.Fmm(rng.random((N, 3)), eps=1e-3, leaf_size=40, dtype="float32")
    q, d = rng.uniform(-1, 1, N), rng.uniform(-1, 1, (N, 3))
    found = fmm.evaluate(q, dipoles=d, outputs=("gradient",))["gradient"]
    one = found.compute(scheduler="synchronous")
    assert one.dtype == np.float32
    for scheduler in ("threads", "processes"):
        assert np.array_equal(found.compute(scheduler=scheduler), one)
    assert np.array_equal(fmm.serial(q, "gradient", dipoles=d), one)


def test_a_saved_plan_gives_the_same_bits(tmp_path):
    rng = np.random.default_rng(94)
    fmm, q = taskfmm.Fmm(rng.random((N, 3)), eps=1e-3, leaf_size=40, dtype="float32"), rng.uniform(-1, 1, N)
    fmm.save(tmp_path / "plan.h5")
    loaded = taskfmm.Fmm.load(tmp_path / "plan.h5")
    assert loaded.accuracy("potential", q) == fmm.accuracy("potential", q)
    assert np.array_equal(loaded.potential(q).compute(), fmm.potential(q).compute())


@each("unit, size", [(1e-12, 1e-20), (1e9, 1e20)])
def test_units_do_not_matter(unit, size):
    """Powers of the unit and of the charges never meet float32."""
    rng = np.random.default_rng(95)
    x, q, d = rng.random((N, 3)), rng.uniform(-1, 1, N), rng.uniform(-1, 1, (N, 3))
    given = dict(charges=size * q, dipoles=size * unit * d)
    fmm = taskfmm.Fmm(unit * x, eps=1e-3, leaf_size=40, dtype="float32")
    found, exact = fmm.evaluate(**given), taskfmm.direct(unit * x, outputs=("potential", "gradient"), **given)
    assert all(l2_error(found[name].compute() / size, exact[name] / size) <= 1e-3 for name in exact)


def test_formulas_in_single_compute_in_single():
    """One number that is left in float64 makes float64 of all that follows."""
    for kernel in KERNELS_IN_SINGLE.values():
        module = instances.module_of(kernel)
        for kind in (*kernel.sources, *kernel.onto_surfaces, kernel.dense):
            own = single.single(getattr(module, kind.name))
            numbers = [np.float32(0.5)] * (3 + kind.n_numbers)
            found = own(*numbers, kernel.constants.astype(np.float32))
            assert own.nopython_signatures[0].return_type.dtype.name == "float32", kind
            assert np.isfinite(found).all()


@njit
def cancels(dx, dy, dz):
    r = np.sqrt(dx * dx + dy * dy + dz * dz)
    return np.sqrt(1e10 + r) - 1e5 if r > 0.0 else 0.0


@njit
def plain(dx, dy, dz):
    r = np.sqrt(dx * dx + dy * dy + dz * dz)
    return 1.0 / r if r > 0.0 else 0.0


def test_formulas_in_which_numbers_cancel_stay_in_double():
    for value, does in ((plain, True), (cancels, False)):
        assert single.is_alike(function.module(function.reference(value)).charge, 1, np.zeros(0)) is does


@pytest.mark.nightly
@each("kernel", KERNELS_IN_SINGLE)
@each("charges", ["equal", "heavy", "random"])
@each("eps", [1e-2, 1e-3, 1e-4, 1e-5])
@each("name", ["cube", "sphere", "plummer", "line", "pairs", "twice", "far off", "clusters"])
def test_eps_is_kept_everywhere(kernel, charges, eps, name):
    rng = np.random.default_rng(96)
    kernel = KERNELS_IN_SINGLE[kernel]
    fmm = taskfmm.Fmm(clouds(name, rng), kernel=kernel, eps=eps, leaf_size=40, dtype="float32")
    sources = given(kernel, N, rng)
    for name, array in sources.items():
        sources[name] = np.ones_like(array) if charges == "equal" else array
        if charges == "heavy":
            array[5] *= 1e6
    assert max(errors(fmm, **sources).values()) <= eps
