"""What holds for the exact sum must hold for the method: exactly, to rounding, or to eps, as each test says."""

from __future__ import annotations

import dask
import numpy as np
from bounds import EPS_PROPERTY, FMM_DIFFERENCE, PROPERTY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import Problem, problems

import taskfmm
from taskfmm.testing import DISTRIBUTIONS

EPS = 1e-4
few = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SPREAD = tuple(name for name in DISTRIBUTIONS if name not in ("identical", "half_duplicates"))


def solver(problem: Problem, **changes) -> taskfmm.Fmm:
    options = dict(order=4, leaf_size=problem.leaf_size) | changes
    sources = options.pop("sources", problem.sources)
    targets = options.pop("targets", problem.targets)
    return taskfmm.Fmm(sources, targets, **options)


def size(problem: Problem, charges=None) -> np.ndarray:
    """The potential of the magnitudes of the charges: what errors of each target are relative to."""
    q = problem.charges if charges is None else charges
    return taskfmm.direct(problem.sources, np.abs(q), problem.targets)


def assert_close(found, expected, scale, tolerance):
    """Each target within the tolerance of the largest magnitude."""
    assert np.abs(found - expected).max() <= tolerance * max(np.abs(scale).max(), 1e-300)


@few
@given(problems(), st.floats(-3, 3), st.floats(-3, 3))
def test_linear(problem, a, b):
    fmm, p = solver(problem), problem.charges
    q = problem.rng.uniform(-1, 1, p.size)
    both = fmm.serial(a * p + b * q)
    scale = abs(a) * size(problem) + abs(b) * size(problem, q)
    assert_close(both, a * fmm.serial(p) + b * fmm.serial(q), scale, PROPERTY)


@few
@given(problems(relations=("separate", "disjoint")))
def test_reciprocal(problem):
    """w . (K q) = q . (K^T w): sources and targets exchanged."""
    w = problem.rng.uniform(-1, 1, len(problem.targets))
    there = w @ solver(problem).serial(problem.charges)
    back = problem.charges @ solver(problem, sources=problem.targets, targets=problem.sources).serial(w)
    scale = np.abs(w) @ size(problem)
    # order 4 errs by about EPS relative to the magnitudes
    assert abs(there - back) <= 10 * EPS_PROPERTY * EPS * scale


@few
@given(problems(names=("uniform", "sphere", "plummer")), st.floats(-5, 5))
def test_translation(problem, shift):
    """Another cube, other boxes: the same up to the error of the method."""
    fmm = solver(problem, order=None, eps=EPS)
    targets = None if problem.targets is None else problem.targets + shift
    moved = solver(problem, order=None, eps=EPS, sources=problem.sources + shift, targets=targets)
    difference = moved.serial(problem.charges) - fmm.serial(problem.charges)
    assert np.linalg.norm(difference) <= EPS_PROPERTY * EPS * np.linalg.norm(size(problem))


@few
@given(problems(), st.integers(-300, 300))
def test_scaling_by_powers_of_two_is_exact(problem, exponent):
    """phi(a x) = phi(x) / a and gradient(a x) = gradient(x) / a^2, bit for bit."""
    factor = 2.0**exponent
    targets = None if problem.targets is None else problem.targets * factor
    scaled = solver(problem, sources=problem.sources * factor, targets=targets)
    fmm = solver(problem)
    np.testing.assert_array_equal(scaled.serial(problem.charges) * factor, fmm.serial(problem.charges))
    gradient = scaled.serial(problem.charges, "gradient") * factor * factor
    np.testing.assert_array_equal(gradient, fmm.serial(problem.charges, "gradient"))


@few
@given(problems(), st.integers(-900, 900))
def test_charges_scale_exactly_by_powers_of_two(problem, exponent):
    fmm = solver(problem)
    found = fmm.serial(problem.charges * 2.0**exponent)
    np.testing.assert_array_equal(found, fmm.serial(problem.charges) * 2.0**exponent)


@few
@given(problems())
def test_permuting_sources_and_targets(problem):
    fmm, rng = solver(problem), problem.rng
    expected = fmm.serial(problem.charges)
    s = rng.permutation(len(problem.sources))
    if problem.targets is None:
        found = solver(problem, sources=problem.sources[s]).serial(problem.charges[s])
        assert_close(found, expected[s], size(problem), PROPERTY)
        return
    t = rng.permutation(len(problem.targets))
    found = solver(problem, sources=problem.sources[s], targets=problem.targets[t]).serial(problem.charges[s])
    assert_close(found, expected[t], size(problem), PROPERTY)


@few
@given(problems(names=SPREAD, relations=("separate",)), st.floats(0, 1))
def test_splitting_a_charge(problem, part):
    """One source as two at the same place."""
    sources = np.concatenate([problem.sources, problem.sources[:1]])
    charges = np.concatenate([problem.charges, problem.charges[:1] * part])
    charges[0] *= 1 - part
    # the same boxes or others, as the leaf size meets one point more: only to the error of the method
    found = solver(problem, sources=sources).serial(charges)
    expected = solver(problem).serial(problem.charges)
    assert_close(found, expected, size(problem), 10 * EPS_PROPERTY * EPS)


@few
@given(problems(), st.integers(1, 5))
def test_a_batch_is_a_loop(problem, n_vectors):
    """Evaluated lazily all together on one plan: the bits that each vector has alone, in any order."""
    vectors = problem.rng.uniform(-1, 1, (n_vectors, len(problem.charges)))
    together, one_by_one = solver(problem), solver(problem)
    found = dask.compute(*(together.evaluate(q) for q in vectors), scheduler="synchronous")
    for out, q in zip(found[::-1], vectors[::-1], strict=True):
        alone = dask.compute(one_by_one.evaluate(q), scheduler="synchronous")[0]
        for output in out:
            np.testing.assert_array_equal(out[output], alone[output])


@few
@given(problems(names=("uniform", "sphere", "plummer", "ellipsoid", "coplanar"), relations=("same",)))
def test_gradient_is_the_finite_difference_of_the_potential(problem):
    """At targets of their own, away from all sources, central differences over a thousandth of the distance."""
    width = np.ptp(problem.sources, axis=0).max()
    away = problem.rng.standard_normal((20, 3))
    middle = problem.sources.mean(axis=0)
    where = middle + 1.6 * width * away / np.linalg.norm(away, axis=1, keepdims=True)
    h = 1e-3 * width
    steps = np.concatenate([np.zeros((1, 3)), h * np.eye(3), -h * np.eye(3)])
    targets = (where[:, None, :] + steps).reshape(-1, 3)
    fmm = solver(problem, order=10, targets=targets)
    q = np.abs(problem.charges) + 0.1
    phi = fmm.serial(q).reshape(20, 7)
    slope = (phi[:, 1:4] - phi[:, 4:]) / (2 * h)
    found = fmm.serial(q, "gradient").reshape(20, 7, 3)[:, 0]
    assert np.linalg.norm(found - slope) <= FMM_DIFFERENCE * np.linalg.norm(slope)


@few
@given(problems())
def test_zero_charges_give_zero(problem):
    fmm = solver(problem)
    for output in ("potential", "gradient"):
        assert not fmm.serial(np.zeros(len(problem.sources)), output).any()


@few
@given(problems(relations=("same",)))
def test_targets_that_are_the_sources_may_be_given(problem):
    given_twice = solver(problem, targets=problem.sources.copy())
    for output in ("potential", "gradient"):
        found, expected = (f.serial(problem.charges, output) for f in (given_twice, solver(problem)))
        scale = taskfmm.direct(problem.sources, np.abs(problem.charges))
        if output == "potential":
            assert_close(found, expected, scale, PROPERTY)
        else:
            assert np.linalg.norm(found - expected) <= PROPERTY * max(np.linalg.norm(expected), 1e-300)


@few
@given(problems())
def test_the_graph_gives_the_serial_bits(problem):
    fmm = solver(problem)
    for output in ("potential", "gradient"):
        found = fmm.evaluate(problem.charges, output)[output].compute(scheduler="threads", num_workers=2)
        np.testing.assert_array_equal(found, fmm.serial(problem.charges, output))


@few
@given(problems())
def test_constant_kernel_counts_everything(problem):
    q = np.random.default_rng(problem.seed).integers(-50, 50, len(problem.sources)).astype(float)
    found = solver(problem, kernel="one").potential(q).compute(scheduler="synchronous")
    np.testing.assert_array_equal(found, np.full(found.shape, q.sum()))


@few
@given(problems(names=("uniform", "sphere", "plummer", "ellipsoid"), relations=("same",)))
def test_rotation(problem):
    """A turned cloud has the same potentials up to the error of the method."""
    turn, _ = np.linalg.qr(problem.rng.standard_normal((3, 3)))
    turned = solver(problem, order=None, eps=EPS, sources=problem.sources @ turn)
    fmm = solver(problem, order=None, eps=EPS)
    difference = turned.serial(problem.charges) - fmm.serial(problem.charges)
    assert np.linalg.norm(difference) <= EPS_PROPERTY * EPS * np.linalg.norm(size(problem))
