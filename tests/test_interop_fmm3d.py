"""The functions of fmm3dpy on taskfmm: beside fmm3dpy where it is installed, and beside formulas and direct sums."""

from __future__ import annotations

import doctest
import importlib
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from bounds import ROUNDING, SUM_ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.interop import fmm3d, fmm3d_fields, sums

FIELDS = [name for name in vars(fmm3d.Output) if not name.startswith("_") and name != "ier"]
FOUR_PI = 4.0 * np.pi

SCALARS = [("c", 1, 1), ("c", 3, 2), ("d", 1, 3), ("d", 3, 1), ("cd", 1, 2), ("cd", 3, 3)]
WAVES = [("c", 1, 2), ("d", 3, 1), ("cd", 1, 2), ("cd", 3, 2)]
FLOWS = [
    (("stoklet",), 1, 3),
    (("strslet", "strsvec"), 3, 2),
    (("rotlet", "rotvec"), 1, 1),
    (("doublet", "doubvec"), 1, 3),
    (("stoklet", "strslet", "strsvec", "rotlet", "rotvec", "doublet", "doubvec"), 3, 3),
]
ZK = 2.3 + 0.4j


def points(n, m, seed=5):
    """Sources and targets, of which some coincide where there are many."""
    rng = np.random.default_rng(seed)
    sources, targets = np.asfortranarray(rng.random((3, n))), rng.random((3, m))
    if n > 6:
        sources[:, 5], targets[:, 0] = sources[:, 6], sources[:, 3]
    return sources, targets


def strengths(n, nd, kinds, waves=False, seed=6):
    rng = np.random.default_rng(seed)
    first = () if nd == 1 else (nd,)

    def numbers(*shape):
        found = rng.standard_normal((*first, *shape))
        return found + 1j * rng.standard_normal(found.shape) if waves else found

    shapes = {"c": ("charges", (n,)), "d": ("dipvec", (3, n))}
    named = [shapes.get(kind, (kind, (3, n))) for kind in kinds]
    return {name: numbers(*shape) for name, shape in named} | {"nd": nd}


def compare(theirs, ours, names=FIELDS):
    """Fields, shapes, types, order in memory and values of two results."""
    assert ours.ier == 0
    for name in names:
        expected, found = getattr(theirs, name), getattr(ours, name)
        assert (expected is None) == (found is None), name
        if expected is not None:
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
            assert found.flags.f_contiguous and found.flags.writeable, name
            assert np.linalg.norm(found - expected) <= SUM_ROUNDING * np.linalg.norm(expected), name


@each("n,m", [(2, 1), (40, 7)])
@each("waves,case", [(w, case) for w, cases in ((False, SCALARS), (True, WAVES)) for case in cases])
def test_scalar_fields_are_those_of_fmm3dpy(n, m, waves, case):
    real = pytest.importorskip("fmm3dpy")
    (kinds, nd, flag), (y, x) = case, points(n, m)
    given = strengths(n, nd, kinds, waves) | {"sources": y} | ({"zk": ZK} if waves else {})
    name, direct = ("hfmm3d", "h3ddir") if waves else ("lfmm3d", "l3ddir")
    for flags in ({"pg": flag}, {"pgt": flag, "targets": x}, {"pg": flag, "pgt": flag, "targets": x}):
        asked = given | flags | {"eps": 1e-12}
        compare(getattr(real, name)(**asked), getattr(fmm3d, name)(**asked))
    asked = given | {"pgt": flag, "targets": x}
    compare(getattr(real, direct)(**asked), getattr(fmm3d, direct)(**asked))


@each("n,m", [(1, 1), (40, 40)])
@each("kinds,nd,flag", FLOWS)
def test_flow_is_that_of_fmm3dpy(n, m, kinds, nd, flag):
    real, (y, x) = pytest.importorskip("fmm3dpy"), points(n, m)
    asked = strengths(n, nd, kinds) | {"sources": y, "targets": x, "eps": 1e-12}
    asked |= {"ifppreg": 1, "ifppregtarg": flag}
    compare(real.stfmm3d(**asked), fmm3d.stfmm3d(**asked))
    compare(real.st3ddir(**asked), fmm3d.st3ddir(**asked))


def test_layouts_are_those_of_the_formulas():
    """Where fmm3dpy is missing: which row is which derivative, and which axis counts the densities."""
    y, x = points(12, 5)
    given = strengths(12, 2, "cd")
    found = fmm3d.lfmm3d(eps=1e-6, sources=y, targets=x, pgt=3, **given)
    r = x[:, :, None] - y[:, None]
    inverse = np.where((r2 := (r**2).sum(axis=0)) > 0.0, 1.0 / np.sqrt(np.where(r2, r2, 1.0)), 0.0)
    p = np.einsum("dis,its->dts", given["dipvec"], r)
    charges = given["charges"][:, None]
    pot = (charges * inverse + p * inverse**3).sum(axis=2) / FOUR_PI
    assert l2_error(found.pottarg, pot) <= ROUNDING
    of_charges = fmm3d.l3ddir(sources=y, targets=x, charges=given["charges"], pgt=3, nd=2)
    grad = -np.einsum("dts,its->dit", charges * inverse**3, r) / FOUR_PI
    assert l2_error(of_charges.gradtarg, grad) <= ROUNDING
    rows, columns = [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]
    second = 3.0 * r[rows] * r[columns] * inverse**5 - np.equal(rows, columns)[:, None, None] * inverse**3
    hess = np.einsum("ds,kts->dkt", given["charges"], second) / FOUR_PI
    assert l2_error(of_charges.hesstarg, hess) <= ROUNDING


def test_doublets_are_what_they_are_made_of():
    y, x = points(9, 4)
    given = strengths(9, 1, ("doublet", "doubvec"))
    found = fmm3d.st3ddir(eps=1e-6, sources=y, targets=x, ifppregtarg=2, **given)
    r, d, v = x[:, :, None] - y[:, None], given["doublet"][:, None], given["doubvec"][:, None]
    square = (r**2).sum(axis=0)
    square[square == 0.0] = np.inf
    rd, rv, dv = (r * d).sum(axis=0), (r * v).sum(axis=0), (d * v).sum(axis=0)
    flow = (d * rv - v * rd - r * dv) / square**1.5 + 3.0 * r * rd * rv / square**2.5
    assert l2_error(found.pottarg[0], flow.sum(axis=2) / FOUR_PI) <= ROUNDING
    pressure = 6.0 * rd * rv / square**2.5 - 2.0 * dv / square**1.5
    assert l2_error(found.pretarg[0], pressure.sum(axis=1) / FOUR_PI) <= ROUNDING


def test_many_points_keep_eps_and_their_plan(monkeypatch):
    made = []
    monkeypatch.setattr(
        taskfmm, "Fmm", lambda *args, of=taskfmm.Fmm, **kw: made.append(of(*args, **kw)) or made[-1]
    )
    (y, x), eps = points(9000, 9100), 1e-4
    given = strengths(9000, 1, "c")
    sums.PLANS.forget()
    found = fmm3d.lfmm3d(eps=eps, sources=y, targets=x, pg=2, pgt=2, **given)
    assert len(made) == 2 and not any(fmm.plan.is_direct for fmm in made)
    exact = fmm3d.l3ddir(sources=y, targets=x[:, :99], pgt=2, **given)
    exact.pot = exact.pottarg  # not looked at
    assert 0.0 < fmm3d.comperr(ntest=99, out=found, outex=exact, pgt=2) < eps
    whole = fmm3d.l3ddir(sources=y, targets=y, pgt=1, **given)
    assert l2_error(found.pot, whole.pottarg) < eps
    again = fmm3d.lfmm3d(eps=eps, sources=y, targets=x, pg=2, pgt=2, **given)
    assert len(made) == 2
    np.testing.assert_array_equal(again.gradtarg, found.gradtarg)
    y[0, 0] += 0.5  # points of the caller's own, who moves them
    moved = fmm3d.lfmm3d(eps=eps, sources=y, pg=1, **given)
    assert len(made) == 3
    assert l2_error(moved.pot, fmm3d.l3ddir(sources=y, targets=y, pgt=1, **given).pottarg) < eps
    sums.PLANS.forget()


class Coarse(sums.Plans):
    """Plans of which none keeps less than 1e-11."""

    def fmm(self, kernel, eps, *others):
        if eps < 0.9e-11:
            raise taskfmm.AccuracyError(f"eps is {eps}, the floor is 1e-11")
        self.eps = eps
        return taskfmm.Fmm(*others[:2], eps=1e-2)


def test_an_eps_below_the_floor(monkeypatch, caplog):
    """All pairs are summed, unless they are too many: then the smallest eps that is kept is taken, and told."""
    y, plans, asked = points(50, 1)[0].T.copy(), Coarse(1), ("laplace", 1e-14)
    q = {"charges": np.ones(50)}
    exact = taskfmm.direct(y, **q)
    found = sums.evaluate(*asked, y, None, ("potential",), q, few=0, plans=plans)["potential"]
    np.testing.assert_array_equal(found, exact)
    monkeypatch.setattr(sums, "SOME", 0)
    sums.evaluate(*asked, y, None, ("potential",), q, few=0, plans=plans)
    assert plans.eps == pytest.approx(1e-11) and "the floor is 1e-11; 1e-11 is taken" in caplog.text
    monkeypatch.setattr(sums, "SMALL_EPS", 1e-15)
    found = sums.evaluate(*asked, y, None, ("potential",), q, few=0, plans=plans)["potential"]
    np.testing.assert_array_equal(found, exact)


def test_points_that_differ_by_rounding_do_not_act_on_each_other():
    y, _ = points(20, 1)
    y[:, 1] = y[:, 0]
    y[0, :2] = 2.0**-10, 2.0**-10 + 2.0**-62
    q = np.ones(20)
    together = fmm3d.lfmm3d(eps=1e-6, sources=y, charges=q, pg=1)
    y[0, 1] = y[0, 0]
    assert l2_error(together.pot, fmm3d.lfmm3d(eps=1e-6, sources=y, charges=q, pg=1).pot) <= ROUNDING
    x = y[:, :1] + 2.0**-53
    found = fmm3d.l3ddir(sources=y, targets=x, charges=q, pgt=1)
    assert found.pottarg[0] == pytest.approx(together.pot[0] + 0.0, rel=1e-9)
    near = y[:, 2:3] + 1e-7
    assert fmm3d.l3ddir(sources=y, targets=near, charges=q, pgt=1).pottarg[0] > 1e5
    with pytest.raises(NotImplementedError, match="thresh is 1e-06, and 1 pairs"):
        fmm3d.l3ddir(sources=y[:, 2:], targets=near, charges=q[2:], pgt=1, thresh=1e-6)


Y, X, Q = *points(8, 3), np.ones(8)


@each(
    "asked,about",
    [
        (dict(sources=Y, charges=Q[None], pg=1), "charges has shape (1, 8), expected (8,)"),
        (dict(sources=Y, charges=Q, pg=1, nd=2), "expected (2, 8)"),
        (dict(sources=Y.T, charges=Q, pg=1), "sources has shape (8, 3)"),
        (dict(sources=Y, dipvec=Q, pg=1), "dipvec has shape (8,), expected (3, 8)"),
        (dict(sources=Y, charges=Q, targets=X, pg=1), "pg is 1 and pgt 0"),
        (dict(sources=Y, charges=Q, targets=X.T[:2], pgt=1), "targets has shape (2, 3)"),
    ],
)
def test_what_does_not_fit_is_refused_as_by_fmm3dpy(asked, about):
    with pytest.raises(AssertionError) as error:
        fmm3d.lfmm3d(eps=1e-3, **asked)
    assert about in str(error.value)


@each("name,array", [("sources", Y), ("targets", X), ("charges", Q), ("dipvec", Y)])
def test_masked_entries_are_refused(name, array):
    asked = dict(sources=Y, targets=X, charges=Q, dipvec=Y) | {name: np.ma.masked_equal(array, array.flat[0])}
    with pytest.raises(taskfmm.InputError, match=f"{name} has masked entries"):
        fmm3d.lfmm3d(eps=1e-3, pgt=1, **asked)


def test_what_is_not_served_says_what_to_call():
    for call in (lambda: fmm3d.emfmm3d(eps=1e-3, zk=1.0, sources=Y), lambda: fmm3d.em3ddir(sources=Y)):
        with pytest.raises(NotImplementedError, match="3d"):
            call()
    for zk, about in ((0, "lfmm3d"), (1 - 1j, "conjugates")):
        with pytest.raises(NotImplementedError, match=about):
            fmm3d.hfmm3d(eps=1e-3, zk=zk, sources=Y, charges=Q, pg=1)


@each(
    "call,asked",
    [
        (fmm3d.lfmm3d, dict(charges=Q)),
        (fmm3d.lfmm3d, dict(pg=1)),
        (fmm3d.lfmm3d, dict(charges=Q, pgt=1)),
        (fmm3d.lfmm3d, dict(charges=Q, pg=4)),
        (fmm3d.stfmm3d, dict(strslet=Y, ifppreg=1)),
        (fmm3d.stfmm3d, dict(ifppreg=1)),
    ],
)
def test_nothing_to_compute_is_an_empty_output(call, asked):
    found = call(eps=1e-3, sources=Y, **asked)
    assert not any(getattr(found, name) is not None for name in FIELDS)


def test_programs_run_unchanged_until_it_is_taken_away():
    before, given = sys.modules.get("fmm3dpy"), strengths(8, 1, ("strslet", "strsvec"))
    potential, flow = fmm3d.lfmm3d(eps=1e-3, sources=Y, charges=Q, pg=1), {}
    for scaling in "21":
        with fmm3d.install(scaling=scaling):
            import fmm3dpy
            from fmm3dpy.fmm3d import lfmm3d

            assert find_spec("fmm3dpy") is not None
            assert fmm3dpy.lfmm3d is lfmm3d and fmm3dpy.__version__.startswith(scaling)
            factor = {"2": 1.0, "1": FOUR_PI}[scaling]
            found = lfmm3d(eps=1e-3, sources=Y, charges=Q, pg=1)
            assert l2_error(found.pot, factor * potential.pot) <= ROUNDING
            flow[scaling] = fmm3dpy.stfmm3d(eps=1e-3, sources=Y, ifppreg=3, **given)
            if scaling == "1":
                with pytest.raises(TypeError, match="rotlet"):
                    fmm3dpy.stfmm3d(eps=1e-3, sources=Y, ifppreg=1, rotlet=Y, rotvec=Y)
        assert sys.modules.get("fmm3dpy") is before
    for name in ("pot", "pre", "grad"):  # the sign of stresslets was the other one
        assert l2_error(getattr(flow["1"], name), -FOUR_PI * getattr(flow["2"], name)) <= ROUNDING
    with pytest.raises(ValueError, match="scaling is '3'"):
        fmm3d.install(scaling="3")
    one = fmm3d.install()
    one.uninstall()
    one.uninstall()
    assert sys.modules.get("fmm3dpy") is before


def test_imaginary_parts_are_cast_away_with_the_warning_of_numpy():
    with pytest.warns(np.exceptions.ComplexWarning):
        found = fmm3d.lfmm3d(eps=1e-3, sources=Y, charges=Q + 1j, pg=1)
    compare(fmm3d.lfmm3d(eps=1e-3, sources=Y.tolist(), charges=list(Q), pg=1), found)
    assert fmm3d_fields.Output is fmm3d.Output


@each("name", ["stand_in", "fmm3d", "pytreegrav"])
def test_docstring_examples_run(name):
    module = importlib.import_module(f"taskfmm.interop.{name}")
    found = doctest.testmod(module, extraglobs={"np": np})
    assert found.attempted > 0 and found.failed == 0
