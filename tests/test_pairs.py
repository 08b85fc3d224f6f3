"""Loops generated for kernels that come from elsewhere, against sums written with NumPy."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error

from taskfmm.kernels import KERNELS, filling, gather_loops, packing, pairs, spread_loops
from taskfmm.kernels.kernel import Source
from taskfmm.operators.matrix import kernel_matrix

SOURCES, TARGETS = 70, 30
HERE = Path(__file__).with_name("kernels_of_users")
LAST = {"dipoles": "gradient", "stokeslet": "velocity", "screened": "gradient"}


@pytest.fixture(scope="module", params=LAST)
def kernel(request):
    sys.path.insert(0, str(HERE))
    yield importlib.import_module(request.param).KERNEL
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def problem(kernel):
    rng = np.random.default_rng(6200377)
    n_numbers = sum(kind.n_numbers for kind in kernel.sources)
    sources, targets = rng.uniform(-1, 1, (3, SOURCES)), rng.uniform(-1, 1, (3, TARGETS))
    targets[:, 3] = sources[:, 8]
    return sources, targets, rng.uniform(-1, 1, (n_numbers, SOURCES))


def expected(kernel, sources, targets, q):
    """All rows at all targets, float64 [n_rows, n_targets]; the pairs one after the other."""
    d = targets[:, :, None] - sources[:, None, :]
    r = np.linalg.norm(d, axis=0)
    inverse = np.divide(1.0, r, where=r > 0, out=np.zeros_like(r))
    if kernel.name == "stokeslet":
        along = np.einsum("ats,as->ts", d, q)
        return (q[:, None] * inverse + d * along * inverse**3).sum(axis=2)
    damped = np.exp(-kernel.parameters[0] * r) if kernel.parameters else 1.0
    steeper = 1 + kernel.parameters[0] * r if kernel.parameters else 1.0
    value = q[0] * damped * inverse
    slope = -value * steeper * inverse**2 * d
    if kernel.name == "dipoles":
        along = np.einsum("ats,as->ts", d, q[1:])
        value = value + along * inverse**3
        slope = slope + q[1:, None] * inverse**3 - 3 * along * inverse**5 * d
    return np.concatenate([value[None], slope]).sum(axis=2)


def test_sums_are_those_of_the_formula(kernel, problem):
    sources, targets, q = problem
    exact = expected(kernel, sources, targets, q)
    for output in kernel.outputs:
        out = np.zeros((kernel.n_components(output.name), TARGETS))
        every = np.array([0, TARGETS]), *targets, np.array([0, 1]), np.array([0]), np.array([SOURCES])
        gather_loops(kernel, output.name).points_to_points(0, 1, *every, *sources, q, kernel.constants, out)
        assert l2_error(out, exact[: len(out)]) <= 10 * ROUNDING


def test_both_sides_of_a_pair_are_two_sums(kernel, problem):
    sources, targets, q = problem
    output = LAST[kernel.name]
    own = np.random.default_rng(9150373).uniform(-1, 1, (len(q), TARGETS))
    out, back = (np.zeros((kernel.n_components(output), n)) for n in (TARGETS, SOURCES))
    both = gather_loops(kernel, output).gather_run_mutual
    both(*targets, own, *sources, q, out, 0, back, kernel.constants)
    assert l2_error(out, expected(kernel, sources, targets, q)) <= 10 * ROUNDING
    assert l2_error(back, expected(kernel, targets, sources, own)) <= 10 * ROUNDING


def test_check_surfaces_receive_the_outputs_without_a_derivative(kernel, problem):
    sources, targets, q = problem
    out = np.zeros((kernel.n_potential, TARGETS))
    spread_loops(kernel).spread_run(*sources, q, 0, *targets, out, kernel.constants)
    assert l2_error(out, expected(kernel, sources, targets, q)[: len(out)]) <= 10 * ROUNDING


def test_many_vectors_are_sums_of_each(kernel):
    """More sources and targets than a tile has; arrays are wider than what is met, and have sums in them."""
    rng, output, vectors = np.random.default_rng(40172265), LAST[kernel.name], 3
    n_sources, n_targets = max(filling.WIDTHS.values()) + 90, 2 * filling.HEIGHT + 5
    sources, targets = rng.uniform(-1, 1, (3, n_sources)), rng.uniform(-1, 1, (3, n_targets))
    targets[:, 40] = sources[:, 520]
    q = rng.uniform(-1, 1, (vectors, kernel.n_numbers, n_sources))
    own = rng.uniform(-1, 1, (vectors, kernel.n_numbers, n_targets + 4))
    many, n_rows = kernel.with_vectors(vectors), kernel.n_components(output)
    out, back = np.ones((vectors * n_rows, n_targets + 4)), np.ones((vectors * n_rows, n_sources))
    given = own.reshape(-1, n_targets + 4), *sources, q.reshape(-1, n_sources)
    gather_loops(many, output).gather_run_mutual(*targets, *given, out, 4, back, kernel.constants)
    assert (out[:, :4] == 1).all()
    for sums, at, seen, numbers in (
        (out[:, 4:], targets, sources, q),
        (back, sources, targets, own[:, :, 4:]),
    ):
        for number, found in enumerate(np.split(sums - 1, vectors)):
            assert l2_error(found, expected(kernel, seen, at, numbers[number])) <= 10 * ROUNDING

    onto = np.zeros((vectors * kernel.n_potential, n_targets))
    spread_loops(many).spread_run(*sources, q.reshape(-1, n_sources), 0, *targets, onto, kernel.constants)
    for number, found in enumerate(np.split(onto, vectors)):
        exact = expected(kernel, sources, targets, q[number])[: kernel.n_potential]
        assert l2_error(found, exact) <= 10 * ROUNDING


def test_sources_that_are_packed_in_parts_are_packed_once(monkeypatch):
    """And nothing else is read: a run that was packed before has no place in the next part."""
    monkeypatch.setattr(
        packing, "_copy", packing._copy.py_func
    )  # which NumPy lets read nothing beyond an array
    rng = np.random.default_rng(5)
    points, charges, n, most = rng.random((3, 900)), rng.random((2, 900)), 900, 350
    begin, end, here = np.array([600, 0, 300]), np.array([900, 300, 600]), np.zeros(3)
    runs = np.concatenate([np.arange(a, b) for a, b in zip(begin, end, strict=True)])
    for skip in range(0, n, most):
        how = skip, min(most, n - skip), here, np.float64, 1
        packed, numbers = packing.pack.py_func(begin, end, points, charges, *how)
        np.testing.assert_array_equal(packed, points[:, runs[skip : skip + most]])
        np.testing.assert_array_equal(numbers, charges[:, runs[skip : skip + most]])


def test_what_is_not_asked_for_is_not_computed():
    """Of the formula's rows, the loops of a potential take one alone."""
    text = pairs.text(KERNELS["laplace"].of_first.sources, (False,))
    assert "total0" in text
    assert "total1" not in text


def test_signs_of_the_other_side_follow_from_what_is_odd():
    text = pairs.text((Source("charge"), Source("dipole", 3, odd=True)), (False, True))
    assert "back[0, j] = add(back[0, j], b0[0], -b1[0])" in text
    assert "back[1, j] = add(back[1, j], -b0[1], b1[1])" in text


@pytest.mark.parametrize("kernel", ["stokeslet"], indirect=True)
def test_matrices_of_several_numbers_have_a_block_for_each_pair_of_them(problem, kernel):
    sources, targets, q = problem
    matrix = kernel_matrix(kernel, targets, sources)
    assert matrix.shape == (3 * TARGETS, 3 * SOURCES)
    exact = expected(kernel, sources, targets, q)
    assert l2_error((matrix @ q.ravel()).reshape(3, -1), exact) <= 10 * ROUNDING
