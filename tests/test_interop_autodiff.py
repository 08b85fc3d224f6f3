"""Derivatives in PyTorch and JAX, beside differences of the direct sum and derivatives of a sum over pairs."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm import InputError
from taskfmm.interop import derivatives
from taskfmm.kernels import Gravity, Helmholtz, Stokes, Yukawa

N, M, EPS = 3000, 2000, 1e-7


def cloud(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3))


def signed(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def exact(x, q, t, w, kernel="laplace"):
    """Derivatives of w . phi in charges, sources and targets, by direct sums of one vector after the other."""
    q, w = (array.reshape(len(array), -1) for array in (q, w))
    at, found = x if t is None else t, [0.0, 0.0, 0.0]
    of_charges = []
    for one, other in zip(q.T, w.T, strict=True):
        here = taskfmm.direct(x, one, targets=at, kernel=kernel, outputs="gradient")["gradient"]
        there = taskfmm.direct(at, other, targets=x, kernel=kernel, outputs=("potential", "gradient"))
        of_charges.append(there["potential"])
        found[1] = found[1] + one[:, None] * there["gradient"]
        found[2] = found[2] + other[:, None] * here
    return np.stack(of_charges, axis=-1).squeeze(), found[1], found[2]


@each("separate, vectors", [(False, None), (True, None), (False, 3), (True, 2)])
def test_derivatives_are_fields(separate, vectors):
    x, t = cloud(1), cloud(2, M) if separate else None
    k = () if vectors is None else (vectors,)
    q, w = signed(3, N, *k), signed(4, M if separate else N, *k)
    fmm = derivatives.plan(x, t, "laplace", EPS)
    charges, sources, targets = derivatives.back(fmm, q, w)
    wanted = exact(x, q, t, w)
    assert charges.shape == q.shape and l2_error(charges, wanted[0]) <= EPS
    if separate:
        assert l2_error(sources, wanted[1]) <= 3 * EPS and l2_error(targets, wanted[2]) <= 3 * EPS
    else:
        assert targets is None and l2_error(sources, wanted[1] + wanted[2]) <= 3 * EPS
    only = derivatives.back(fmm, q, w, points=False)
    assert only[1] is None and l2_error(only[0], wanted[0]) <= EPS


@each("n, m", [(0, None), (1, None), (0, 3), (3, 0), (2, 1)])
def test_few_points_and_none(n, m):
    for k in ((), (2,)):
        fmm = derivatives.plan(cloud(20, n), None if m is None else cloud(21, m), "laplace", EPS)
        q, w = np.ones((n, *k)), np.ones((n if m is None else m, *k))
        assert derivatives.potential(fmm, q).shape == w.shape
        charges, sources, targets = derivatives.back(fmm, q, w)
        assert charges.shape == q.shape and sources.shape == (n, 3)
        assert (targets is None) if m is None else targets.shape == (m, 3)


def test_derivatives_are_differences():
    """Of the direct sum, where one number after the other is moved."""
    x, t, q, w = cloud(5, 12), cloud(6, 9), signed(7, 12), signed(8, 9)
    found = derivatives.back(derivatives.plan(x, t, Yukawa(2.0), 1e-6), q, w)
    for number, (array, gradient) in enumerate(zip((q, x, t), found, strict=True)):
        for at in np.ndindex(array.shape):
            sums = []
            for step in (1e-6, -1e-6):
                moved = [q.copy(), x.copy(), t.copy()]
                moved[number][at] += step
                sums.append(w @ taskfmm.direct(moved[1], moved[0], targets=moved[2], kernel=Yukawa(2.0)))
            assert gradient[at] == pytest.approx((sums[0] - sums[1]) / 2e-6, rel=1e-6, abs=1e-7)


def test_plans_are_kept():
    x, q = cloud(9), signed(10, N)
    one = derivatives.plan(x, None, "laplace", EPS)
    assert derivatives.plan(x.copy(), None, "laplace", EPS) is one
    assert derivatives.plan(x, None, "laplace", 1e-3) is not one
    x[0] += 1.0  # the caller's array is his
    assert derivatives.plan(x, None, "laplace", EPS) is not one
    assert (
        derivatives.plan(one, None, "laplace", EPS) is one and derivatives.plan(one, None, None, None) is one
    )
    assert derivatives.back(one, q, q, False)[0].shape == (N,)


def test_what_has_no_derivatives():
    x = cloud(11, 50)
    for kernel in (Stokes(), Helmholtz(1.0), Gravity(softening=np.full(50, 0.1))):
        with pytest.raises(InputError, match="derivatives are"):
            derivatives.plan(x, None, kernel, 1e-4)
    fmm = taskfmm.Fmm(x)
    with pytest.raises(InputError, match=r"fmm\.at"):
        derivatives.plan(fmm, x, "laplace", 1e-4)
    for kernel, eps in ((None, 1e-4), (Yukawa(30.0), None), ("yukawa", None), (None, -5.0)):
        with pytest.raises(
            InputError, match="of kernel laplace and eps 1e-06, and other options are given as well"
        ):
            derivatives.plan(fmm, None, kernel, eps)
    with pytest.raises(InputError, match="periodic"):
        derivatives.plan(taskfmm.Fmm(x, box=1.0), None, None, None)


def torch_pairs(torch, x, q, t):
    """The same potential, pair by pair."""
    r2 = ((t[:, None] - x[None]) ** 2).sum(-1)
    near = r2 == 0
    return ((~near) / (4 * torch.pi * torch.where(near, 1.0, r2).sqrt())) @ q


def test_torch_beside_a_sum_over_pairs():
    torch = pytest.importorskip("torch")
    from taskfmm.interop.torch import potential

    for separate, k in ((False, ()), (True, ()), (False, (2,)), (True, (2,))):
        given = [torch.tensor(a, requires_grad=True) for a in (cloud(12), signed(13, N, *k), cloud(14, M))]
        x, q, t = given if separate else (*given[:2], None)
        w = torch.tensor(signed(15, M if separate else N, *k))
        gradients = []
        for phi in (potential(x, q, t, eps=EPS), torch_pairs(torch, x, q, x if t is None else t)):
            wanted = given if separate else given[:2]
            gradients.append([phi.detach(), *torch.autograd.grad((w * phi).sum(), wanted)])
        for found, right in zip(*gradients, strict=True):
            assert found.dtype == torch.float64 and l2_error(found.numpy(), right.numpy()) <= 3 * EPS


def test_torch_gradcheck():
    """Differences of the potential itself, which is a direct sum for few points."""
    torch = pytest.importorskip("torch")
    from taskfmm.interop.torch import potential

    x, q, t = (torch.tensor(a, requires_grad=True) for a in (cloud(16, 8), signed(17, 8), cloud(18, 6)))
    assert torch.autograd.gradcheck(potential, (x, q))
    assert torch.autograd.gradcheck(potential, (x, q, t, Yukawa(3.0)))
    fmm = taskfmm.Fmm(cloud(19, 8), cloud(20, 5))
    assert torch.autograd.gradcheck(lambda q: potential(fmm, q), (q,))


def test_torch_dtypes_and_errors():
    torch = pytest.importorskip("torch")
    from taskfmm.interop.torch import potential

    x = torch.tensor(cloud(21), dtype=torch.float32, requires_grad=True)
    q = torch.tensor(signed(22, N), requires_grad=True)
    potential(x, q).sum().backward()
    assert (x.grad.dtype, q.grad.dtype) == (torch.float32, torch.float64)
    half = torch.tensor(signed(23, N), dtype=torch.float32)
    phi = potential(x, half, x.detach()[:10])
    assert phi.dtype == torch.float32 and phi.shape == (10,)
    phi.sum().backward()
    plain = potential(x.detach(), half)  # nothing to differentiate
    assert not plain.requires_grad
    for given, told in (
        ((x, q.detach().numpy()), "expected a torch.Tensor"),
        ((x, q.to(torch.int64)), r"expected float32 or float64: give charges\.double\(\)"),
        ((x, q + 0j), r"charges is torch.complex128, .*: give charges\.real and charges\.imag one after"),
        ((x, torch.empty(N, device="meta")), "expected cpu"),
        ((x, q[:5]), "charges"),
        ((x[:, :2], q), "sources"),
    ):
        with pytest.raises(InputError, match=told):
            potential(*given)
    with pytest.raises(RuntimeError, match="functorch"):
        torch.func.grad(lambda q: potential(x.detach(), q).sum())(q.detach())
    (first,) = torch.autograd.grad(potential(x, q).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="differentiated again"):
        (first.sum() + q.sum()).backward()


def test_jax_beside_a_sum_over_pairs():
    jax = pytest.importorskip("jax")
    from taskfmm.interop.jax import potential

    with jax.enable_x64(True):

        def pairs(x, q, t):
            t = x if t is None else t
            r2 = ((t[:, None] - x[None]) ** 2).sum(-1)
            near = r2 == 0
            return ((~near) / (4 * jax.numpy.pi * jax.numpy.where(near, 1.0, r2) ** 0.5)) @ q

        for separate, k in ((False, ()), (True, ()), (False, (2,)), (True, (2,))):
            x, q, t = map(jax.numpy.asarray, (cloud(24), signed(25, N, *k), cloud(26, M)))
            w = signed(27, M if separate else N, *k)
            given = (x, q, t) if separate else (x, q)

            def total(*given, of, w=w):
                phi = of(*given) if len(given) == 3 else of(*given, None)
                return (w * phi).sum()

            numbers = tuple(range(len(given)))
            ours = jax.jit(
                jax.value_and_grad(lambda *a, f=total: f(*a, of=lambda *b: potential(*b, eps=EPS)), numbers)
            )
            value, found = ours(*given)
            wanted, right = jax.value_and_grad(lambda *a, f=total: f(*a, of=pairs), numbers)(*given)
            assert abs(value - wanted) <= 1e-6 * abs(w).sum()
            for one, other in zip(found, right, strict=True):
                assert one.dtype == np.float64 and l2_error(one, other) <= 3 * EPS


def test_jax_dtypes_plans_and_errors():
    jax = pytest.importorskip("jax")
    from taskfmm.interop.jax import potential

    x, q = (jax.numpy.asarray(a, jax.numpy.float32) for a in (cloud(28), signed(29, N)))
    fmm = taskfmm.Fmm(np.asarray(x), eps=EPS)
    right = taskfmm.direct(np.asarray(x), np.ones(N))
    for of in (fmm, x):
        found = jax.jit(jax.grad(lambda q, of=of: potential(of, q, eps=EPS).sum()))(q)
        assert found.dtype == np.float32 and l2_error(found, right) <= 1e-6
    assert jax.grad(lambda x: potential(x, q, x[:20]).sum())(x).shape == x.shape


def test_jax_errors_are_those_of_taskfmm():
    """Shapes and options also while JAX traces; values where there is nothing to trace."""
    jax = pytest.importorskip("jax")
    from taskfmm.interop.jax import potential

    x, q = (jax.numpy.asarray(a, jax.numpy.float32) for a in (cloud(28, 50), signed(29, 50)))
    fmm, short, bad = taskfmm.Fmm(np.asarray(x)), q[:7], q.at[3].set(np.nan)
    for given, told in (
        ((x, jax.numpy.ones(50, int)), r"expected float32 or float64: give charges\.astype\(float\)"),
        ((x, q + 0j), r"charges is complex64, .*: give charges\.real and charges\.imag one after"),
        ((x, q[None, :, None]), r"charges has shape \(1, 50, 1\), expected \(n,\), or \(n, k\)"),
        ((x[:, :2], q), r"sources has shape \(50, 2\), expected \(n, 3\)"),
        ((x, q, x[0]), r"targets has shape \(3,\), expected \(n, 3\)"),
        ((x, short), "charges has 7 rows, sources has 50: give one charge for each source"),
        ((fmm, short), "charges has 7 rows, sources has 50"),
        ((fmm, q, x), r"fmm\.at"),
        ((fmm, q, None, None, 1e-3), "leave out kernel and eps here"),
        ((x, q, None, "stokes"), "has parameters"),
        ((x, q, None, Helmholtz(1.0)), "derivatives are known"),
        ((x, q, None, "laplace", 2.0), "eps is 2.0"),
    ):
        ours = lambda q, given=given: potential(given[0], q, *given[2:]).sum()  # noqa: E731
        calls = (ours, jax.jit(ours), jax.jit(jax.grad(ours)))
        for call in calls if given[1].dtype == np.float32 else calls[:2]:  # JAX itself refuses others
            with pytest.raises(InputError, match=told):
                call(given[1])
    for source in (x, fmm):
        for call in (
            lambda q, of=source: potential(of, q),
            jax.grad(lambda q, of=source: potential(of, q)[0]),
        ):
            with pytest.raises(InputError, match="charges row 3 is not finite"):
                call(bad)
        with pytest.raises(jax.errors.JaxRuntimeError, match="InputError: charges row 3 is not finite"):
            jax.block_until_ready(jax.jit(lambda q, of=source: potential(of, q))(bad))


def test_derivatives_that_are_differentiated_again():
    autograd, anp = pytest.importorskip("autograd"), pytest.importorskip("autograd.numpy")
    jax = pytest.importorskip("jax")
    from taskfmm.interop import autograd as of_autograd
    from taskfmm.interop import jax as of_jax

    x, q = cloud(34, 30).astype(np.float32), signed(35, 30).astype(np.float32)
    for grad, sums, potential in (
        (autograd.grad, anp.sum, of_autograd.potential),
        (jax.grad, jax.numpy.sum, of_jax.potential),
    ):
        energy = lambda x, q, f=potential, s=sums: s(q * f(x, q))  # noqa: E731
        for first in (0, 1):
            once = grad(energy, first)
            slope = lambda x, q, f=once, s=sums: s(f(x, q) ** 2)  # noqa: E731
            assert np.isfinite(slope(x, q))
            for second in (0, 1):
                with pytest.raises(NotImplementedError, match=r"differentiated again.*take differences"):
                    grad(slope, second)(x, q)


def test_autograd():
    autograd, anp = pytest.importorskip("autograd"), pytest.importorskip("autograd.numpy")
    from taskfmm.interop.autograd import potential

    x, q, t, w = cloud(30), signed(31, N), cloud(32, M), signed(33, M)
    found = autograd.grad(lambda q, x, t: anp.dot(w, potential(x, q, t, eps=EPS)), (0, 1, 2))(q, x, t)
    for one, other in zip(found, exact(x, q, t, w), strict=True):
        assert l2_error(one, other) <= 3 * EPS
    fmm = taskfmm.Fmm(x, eps=EPS)
    with pytest.raises(
        taskfmm.InputError, match=r"charges is complex128.* give charges\.real and charges\.imag"
    ):
        potential(x, q + 0j)
    for other in ({"kernel": Yukawa(30.0)}, {"eps": -5.0}):
        with pytest.raises(InputError, match="leave out kernel and eps here"):
            potential(fmm, q, **other)
    by_name = autograd.grad(lambda t: anp.dot(w, potential(x, charges=q, targets=t, eps=EPS)))(t)
    np.testing.assert_array_equal(by_name, found[2])
    of_plan = autograd.grad(lambda q: anp.dot(q, potential(fmm, q)))(q)
    assert l2_error(of_plan, 2 * taskfmm.direct(x, q)) <= 2 * EPS


@pytest.mark.parametrize("name", ["torch", "jax", "autograd"])
def test_examples(name):
    pytest.importorskip(name)
    module = importlib.import_module(f"taskfmm.interop.{name}")
    found = doctest.testmod(module)
    assert found.attempted and not found.failed
