"""Pair formulas and the loops compiled for them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bounds import FINITE_DIFFERENCE, ROUNDING
from boxes import FOUR_PI, exact, l2_error
from cases import each
from numba.core.dispatcher import Dispatcher

from taskfmm.jit import Loop
from taskfmm.kernels import KERNELS, gather_loops, instances, laplace, spread_loops
from taskfmm.kernels.roots import inverse_distance
from taskfmm.operators.matrix import kernel_matrix

SCALAR = ("laplace", "one")
FIRST = {name: KERNELS[name].of_first for name in SCALAR}
"""Kernels of one charge with a potential and a gradient; dipoles and other kernels have files of tests."""


def one_point(kernel: str, output: str, at: np.ndarray, sources: np.ndarray, charges: np.ndarray):
    """The sum over pairs itself, at one target that is column 1 of two."""
    facts = FIRST[kernel]
    out = np.full((facts.n_components(output), 2), 0.5)
    gather_loops(facts, output).gather_run(*at[:, None], *sources, charges[None], out, 1, facts.constants)
    assert (out[:, 0] == 0.5).all()
    return out[:, 1] - 0.5


@pytest.fixture(scope="module")
def cloud():
    rng = np.random.default_rng(7741321)
    return rng.uniform(-1, 1, (3, 70)), rng.uniform(-1, 1, 70)


@each("output", ["potential", "gradient"])
def test_laplace_is_its_formula(cloud, output):
    sources, charges = cloud
    at = np.array([0.3, 1.7, -0.2])
    found = one_point("laplace", output, at, sources, charges)
    expected = exact(at[:, None], sources, charges)[: len(found), 0]
    assert l2_error(found, expected) <= ROUNDING


def test_laplace_gradient_is_the_derivative(cloud):
    sources, charges = cloud
    at = np.array([0.3, 1.7, -0.2])
    h = 1e-4 * np.sqrt(((sources - at[:, None]) ** 2).sum(axis=0)).min()
    difference = []
    for axis in np.eye(3):
        up, down = (
            one_point("laplace", "potential", at + s * h * axis, sources, charges)[0] for s in (1, -1)
        )
        difference.append((up - down) / (2 * h))
    found = one_point("laplace", "gradient", at, sources, charges)
    assert l2_error(found[1:], np.array(difference)) <= FINITE_DIFFERENCE


def test_inverse_distance():
    assert inverse_distance(4.0) == 0.5
    assert inverse_distance(0.0) == 0.0


def test_zero_distance_adds_nothing(cloud):
    sources, charges = cloud
    at = sources[:, 5].copy()
    for output in ("potential", "gradient"):
        found = one_point("laplace", output, at, sources, charges)
        expected = exact(at[:, None], sources, charges)[: len(found), 0]
        assert np.isfinite(found).all()
        assert l2_error(found, expected) <= ROUNDING


def test_the_constant_kernel_counts_every_pair(cloud):
    sources, _ = cloud
    ones = np.ones(sources.shape[1])
    assert one_point("one", "potential", sources[:, 5].copy(), sources, ones) == [70.0]
    assert one_point("one", "gradient", sources[:, 5].copy(), sources, ones).tolist() == [70.0, 0, 0, 0]


@each("kernel", SCALAR)
def test_spread_is_the_transposed_gather(kernel, cloud):
    sources, _ = cloud
    targets = np.random.default_rng(8814437).uniform(-1, 1, (3, 30))
    targets[:, 7] = sources[:, 9]
    matrix = kernel_matrix(FIRST[kernel], targets, sources)
    assert matrix.shape == (30, 70)
    for j in (0, 9, 69):
        unit = np.zeros(70)
        unit[j] = 1.0
        column = [one_point(kernel, "potential", t, sources, unit)[0] for t in targets.T]
        np.testing.assert_allclose(matrix[:, j], column, rtol=ROUNDING, atol=0)


def test_facts_agree_with_the_formulas():
    assert FIRST["laplace"].factor == 1 / FOUR_PI
    assert FIRST["one"].factor == 1.0
    rng = np.random.default_rng(2517719)
    a, b = rng.uniform(-1, 1, (2, 3, 11))
    for kernel in map(FIRST.get, SCALAR):
        doubled = kernel_matrix(kernel, 2 * a, 2 * b)
        assert kernel.degree is not None
        np.testing.assert_array_equal(doubled, 2.0**kernel.degree * kernel_matrix(kernel, a, b))
        assert kernel.n_components("potential") == 1
        assert kernel.n_components("gradient") == 4


def test_loops_are_made_once_and_apart():
    laplace = FIRST["laplace"]
    assert gather_loops(laplace, "potential") is gather_loops(laplace, "potential")
    made = [gather_loops(k, o) for k in map(FIRST.get, SCALAR) for o in ("potential", "gradient")]
    made += [spread_loops(k) for k in map(FIRST.get, SCALAR)]
    assert len({module.__name__ for module in made}) == len(made) == 6
    names = [m.points_to_points.body.py_func.__qualname__ for m in made[:4]]
    assert len(set(names)) == 4  # Numba's disk cache goes by this name


def test_an_edited_formula_gets_loops_of_its_own(tmp_path):
    """Numba's cache does not notice that what a loop calls has changed, as after an upgrade: the name must."""
    kept = laplace
    path = tmp_path / "laplace.py"
    path.write_text(Path(kept.__file__).read_text() + "# edited\n")
    edited = ModuleType(kept.__name__)
    edited.__file__ = str(path)
    exec(compile(path.read_text(), str(path), "exec"), vars(edited))
    names = {
        instances.instantiate("spread_loops", m, FIRST["laplace"].sources, (False,)).__name__
        for m in (kept, edited)
    }
    assert len(names) == 2


@each("output", ["potential", "gradient"])
def test_threads_do_not_change_the_loops(cloud, output):
    """Rows are independent, so any number of threads gives the same bits."""
    rng = np.random.default_rng(6637129)
    targets, sources = rng.uniform(-1, 1, (3, 200)), rng.uniform(-1, 1, (3, 500))
    charges = rng.uniform(-1, 1, (1, 500))
    target_ptr, ptr = np.arange(0, 201, 10), np.arange(0, 61, 3)
    begin = rng.integers(0, 400, 60)
    end = begin + rng.integers(0, 100, 60)
    results = []
    for threads in (1, 2):
        out = np.zeros((FIRST["laplace"].n_components(output), 200))
        gather_loops(FIRST["laplace"], output).points_to_points(
            0,
            20,
            target_ptr,
            *targets,
            ptr,
            begin,
            end,
            *sources,
            charges,
            np.empty(0),
            out,
            threads=threads,
        )
        results.append(out)
    np.testing.assert_array_equal(*results)
    assert np.abs(results[0]).min(axis=1).all()


def test_no_two_dispatchers_share_a_cache_entry():
    """Every compiled function of every instance, helpers too: Numba's cache goes by file, name and line alone."""
    instances = [gather_loops(k, o) for k in map(FIRST.get, SCALAR) for o in ("potential", "gradient")]
    instances += [spread_loops(k) for k in map(FIRST.get, SCALAR)]
    seen = {}
    for module in instances:
        for item in vars(module).values():
            found = item.body if isinstance(item, Loop) else item
            if not isinstance(found, Dispatcher) or found.py_func.__module__ != module.__name__:
                continue
            body = found.py_func
            entry = (body.__code__.co_filename, body.__qualname__, body.__code__.co_firstlineno)
            assert seen.setdefault(entry, found) is found, entry
    assert len(seen) >= 4 * 2 + 2 * 2


@each("output", ["potential", "gradient"])
@each("kernel", SCALAR)
def test_two_sided_formulas_are_two_one_sided_ones(kernel, output, cloud):
    """One source and all others, both ways; the point itself among them adds nothing, or one where it counts."""
    points, charges = cloud
    facts = FIRST[kernel]
    n_rows = facts.n_components(output)
    both = gather_loops(facts, output).gather_run_mutual
    own = np.array([[0.0, 1.7]])
    for at in (np.array([0.3, 1.7, -0.2]), points[:, 5].copy()):
        out, back = np.zeros((n_rows, 2)), np.zeros((n_rows, charges.size))
        both(*at[:, None], own, *points, charges[None], out, 1, back, facts.constants)
        here = one_point(kernel, output, at, points, charges)
        np.testing.assert_allclose(out[:, 1], here, rtol=0, atol=ROUNDING * np.abs(here).max())
        source = at[:, None].copy()
        there = np.stack([one_point(kernel, output, p.copy(), source, own[0, 1:]) for p in points.T], axis=1)
        np.testing.assert_allclose(back, there, rtol=0, atol=ROUNDING * np.abs(there).max())
