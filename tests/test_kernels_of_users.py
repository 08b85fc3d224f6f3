"""Kernels that come from elsewhere, each one file: everything that the library's own can do.

One has a parameter and no degree, one three numbers in and three out, one two kinds of sources, and one is expanded
in columns of another kernel. Their files know
`taskfmm.kernels` and `taskfmm.jit` alone, and are registered as a user's are.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from boxes import l2_error

import taskfmm
from taskfmm.errors import InputError
from taskfmm.kernels import CHARGE, KERNELS, Source, find, instances, register
from taskfmm.profiling.names import operator_of
from taskfmm.store import saved

HERE = Path(__file__).with_name("kernels_of_users")
NAMES = ("screened", "stokeslet", "dipoles", "vortices")
N, EPS = 3000, 1e-3


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Also in other processes, where tasks import the formulas by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module", params=NAMES)
def kernel(request):
    yield register(importlib.import_module(request.param).KERNEL)
    del KERNELS[request.param]


@pytest.fixture(scope="module")
def given(kernel):
    """Random numbers for each kind of source, by the names of the arguments."""
    rng = np.random.default_rng(2290031)
    return {
        kind.given_as: rng.uniform(-1, 1, (N, kind.n_numbers) if kind.n_numbers > 1 else N)
        for kind in kernel.sources
    }


@pytest.fixture(scope="module")
def points():
    """Adaptive: all lists have entries."""
    return np.random.default_rng(104947).normal(size=(N, 3)) ** 3


@pytest.fixture(scope="module")
def fmm(kernel, points):
    return taskfmm.Fmm(points, kernel=kernel, eps=EPS, leaf_size=60)


@pytest.fixture(scope="module")
def exact(kernel, points, given):
    return taskfmm.direct(points, kernel=kernel, outputs=kernel.names, **given)


def test_eps_is_kept(kernel, fmm, given, exact):
    assert not fmm.plan.is_direct
    assert all(csr.idx.size for csr in (fmm.plan.lists.v, fmm.plan.lists.w, fmm.plan.lists.x))
    for output, values in fmm.evaluate(**given).items():
        assert values.shape == (N, *kernel.output(output).shape)
        assert l2_error(values.compute(), exact[output]) <= EPS


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_every_scheduler_gives_the_bits_of_plain_calls(kernel, fmm, given, scheduler):
    last = kernel.names[-1]
    alone = fmm.evaluate(outputs=last, **given)[last]
    np.testing.assert_array_equal(alone.compute(scheduler=scheduler), fmm.serial(output=last, **given))


def test_a_cluster_gives_the_same_bits_of_lazy_charges(kernel, fmm, given, client):
    last = kernel.names[-1]
    lazy = {name: da.from_array(array, chunks=(1500, *array.shape[1:])) for name, array in given.items()}
    found = fmm.evaluate(outputs=last, **lazy)[last]
    np.testing.assert_array_equal(found.compute(), found.compute(scheduler="synchronous"))


@pytest.mark.parametrize("kernel", ["dipoles"], indirect=True)
@pytest.mark.parametrize("unit", [1.0, 1e-5, 3e7])
def test_kinds_of_sources_have_the_same_unit_of_length(kernel, unit):
    """By NumPy, since all sums of this library divide by the same powers of it."""
    rng = np.random.default_rng(4401)
    sources, targets = unit * rng.random((200, 3)), unit * (rng.random((50, 3)) + np.array([1.0, 0, 0]))
    q, moments = rng.uniform(-1, 1, 200), unit * rng.uniform(-1, 1, (200, 3))
    d = targets[:, None] - sources
    r = np.linalg.norm(d, axis=2)
    exact = (q / r + (d * moments).sum(axis=2) / r**3).sum(axis=1)
    found = taskfmm.direct(sources, q, targets, kernel=kernel, dipoles=moments)
    assert l2_error(found, exact) <= 1e-12


def test_saved_and_loaded_it_gives_the_same_bits(kernel, fmm, given, tmp_path):
    fmm.save(tmp_path / "plan.h5")
    again = taskfmm.Fmm.load(tmp_path / "plan.h5")
    assert again.kernel == fmm.kernel
    for output in kernel.names:
        np.testing.assert_array_equal(
            again.serial(output=output, **given), fmm.serial(output=output, **given)
        )


def test_it_is_explained_profiled_and_drawn(kernel, fmm, given):
    assert kernel.name in fmm.explain()
    with taskfmm.profile() as seen:
        dask.compute(*fmm.evaluate(**given).values())
    names = {row["operator"] for row in seen.table(by="operator")}
    assert {"P2M", "M2L", "P2P", *kernel.names} <= names
    foretold = fmm.forecast(kernel.names)
    assert set(foretold.by_operator) == names
    arrays = fmm.evaluate(**given)
    assert {operator_of(key) for key in arrays[kernel.names[0]].__dask_graph__()} - {None} == names
    assert fmm.visualize(outputs=kernel.names).axes


def test_errors_are_estimated_by_the_same_sum(kernel, fmm, given, exact):
    output = kernel.names[-1]
    values = fmm.evaluate(outputs=output, **given)[output].compute()
    first, *others = given
    estimate = fmm.error_estimate(
        given[first], values, N, output=output, **{name: given[name] for name in others}
    )
    assert estimate == pytest.approx(l2_error(values, exact[output]), rel=1e-9)


def test_few_points_are_summed_directly(kernel, points, given):
    few = {name: array[:50] for name, array in given.items()}
    fmm = taskfmm.Fmm(points[:50], kernel=kernel)
    assert fmm.plan.is_direct
    exact = taskfmm.direct(points[:50], kernel=kernel, outputs=kernel.names, **few)
    for output, values in fmm.evaluate(**few).items():
        assert l2_error(values.compute(), exact[output]) <= 1e-12


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_points(kernel, n):
    fmm = taskfmm.Fmm(np.zeros((n, 3)), kernel=kernel)
    arrays = {
        kind.given_as: np.ones((n, kind.n_numbers) if kind.n_numbers > 1 else n) for kind in kernel.sources
    }
    for output, values in fmm.evaluate(**arrays).items():
        np.testing.assert_array_equal(values.compute(), np.zeros((n, *kernel.output(output).shape)))


@pytest.mark.parametrize("kernel", ["dipoles"], indirect=True)
@pytest.mark.parametrize("width", [1e-150, 1.0, 1e150])
def test_any_part_of_the_sources_may_be_given_in_any_unit(kernel, width):
    """Dipoles carry a length that charges do not."""
    rng = np.random.default_rng(15485863)
    x, q, d = rng.random((600, 3)) * width, rng.uniform(-1, 1, 600), rng.uniform(-1, 1, (600, 3)) * width
    fmm = taskfmm.Fmm(x, kernel=kernel, order=5, leaf_size=30)
    for some in ({"charges": q}, {"dipoles": d}, {"charges": q, "dipoles": d}):
        exact = taskfmm.direct(x, kernel=kernel, **some)
        assert l2_error(fmm.serial(**some), exact) <= 1e-3
    both = fmm.serial(charges=q, dipoles=d)
    assert l2_error(both, fmm.serial(charges=q) + fmm.serial(dipoles=d)) <= 1e-12


@pytest.mark.parametrize("kernel", ["triple"], indirect=True)
def test_several_numbers_are_no_vector_unless_they_are_said_to_be(kernel, points, given):
    fmm = taskfmm.Fmm(points, kernel=kernel, order=4, leaf_size=60)
    assert l2_error(fmm.serial(**given), taskfmm.direct(points, kernel=kernel, **given)) <= 1e-3


@pytest.mark.parametrize("kernel", ["screened"], indirect=True)
def test_parameters_that_do_not_fit_are_refused(kernel, points):
    for wrong, message in (
        ((), "has 1 parameters, got 0"),
        ((1.0, 2.0), "has 1 parameters, got 2"),
        ((np.nan,), "a parameter of kernel 'screened' is not finite"),
    ):
        with pytest.raises(InputError, match=message):
            taskfmm.direct(points, np.ones(N), kernel=kernel.with_parameters(*wrong))


@pytest.mark.parametrize("kernel", ["screened"], indirect=True)
def test_a_plan_of_other_formulas_is_refused(kernel, tmp_path, monkeypatch):
    """The operators in the file are those of the old formula, and the near field would be that of the new one."""
    taskfmm.Fmm(np.random.default_rng(5).random((300, 3)), kernel=kernel, order=3, leaf_size=20).save(
        tmp_path / "plan.h5"
    )
    monkeypatch.setattr(saved, "fingerprint", lambda kernel: "edited")
    with pytest.raises(InputError, match="the formulas of kernel 'screened' have been edited"):
        taskfmm.Fmm.load(tmp_path / "plan.h5")


@pytest.mark.parametrize("kernel", ["screened"], indirect=True)
def test_a_parameter_is_part_of_the_kernel(kernel, points, given, tmp_path):
    """Other parameters have other operators, also in the cache and in files."""
    other = kernel.with_parameters(0.2)
    exact = taskfmm.direct(points, kernel=other, **given)
    for accuracy, error in ((dict(eps=1e-2), 1e-2), (dict(order=7), EPS)):
        fmm = taskfmm.Fmm(points, kernel=other, leaf_size=60, **accuracy)
        assert l2_error(fmm.serial(**given), exact) <= error
    assert l2_error(taskfmm.direct(points, kernel=kernel, **given), exact) > 10 * EPS
    fmm.save(tmp_path / "plan.h5")
    assert taskfmm.Fmm.load(tmp_path / "plan.h5").kernel.parameters == (0.2,)


@pytest.mark.parametrize("kernel", ["screened"], indirect=True)
def test_a_plan_file_of_an_unknown_kernel_is_refused(kernel, fmm, tmp_path, monkeypatch):
    fmm.save(tmp_path / "plan.h5")
    monkeypatch.delitem(KERNELS, kernel.name)
    with pytest.raises(
        InputError, match=r"'screened' is not one of this version.*taskfmm\.kernels\.register"
    ):
        taskfmm.Fmm.load(tmp_path / "plan.h5")
    monkeypatch.setitem(KERNELS, kernel.name, kernel)


@pytest.mark.parametrize("kernel", ["stokeslet"], indirect=True)
def test_what_does_not_fit_the_sources_is_refused(kernel, fmm, given):
    for wrong, message in (
        ({}, "no sources were given: give at least one of forces"),
        ({"charges": given["forces"], "forces": given["forces"]}, "forces is given twice"),
        ({"torques": given["forces"]}, "torques is no source of kernel stokeslet: its sources are forces"),
        ({"forces": given["forces"].T}, r"expected \(3000, 3\): did you mean forces\.T\?"),
        ({"forces": given["forces"][:, 0]}, r"expected \(3000, 3\): give 3 numbers for each source"),
        ({"outputs": "potential", **given}, "choose from velocity"),
    ):
        with pytest.raises(InputError, match=message):
            fmm.evaluate(**wrong)
    with pytest.raises(InputError, match="choose from velocity"):
        fmm.potential(**given)


def test_a_kernel_is_found_by_its_name_or_itself(kernel):
    assert find(kernel.name) is KERNELS[kernel.name]
    assert find(kernel) == kernel
    with pytest.raises(InputError, match="another kernel is called"):
        register(replace(kernel, factor=2.0))


FAULTS = {
    "two sources have one argument": lambda k: replace(
        k, sources=(*k.sources, replace(k.sources[0], name="other", argument=k.sources[0].given_as))
    ),
    "a source has an argument of a": lambda k: replace(
        k, sources=(replace(k.sources[0], argument="outputs"), *k.sources[1:])
    ),
    "or as an operator, in capitals": lambda k: replace(
        k, outputs=(replace(k.outputs[0], name="charges"), *k.outputs[1:])
    ),
    "a vector has three numbers": lambda k: replace(
        k, sources=(replace(k.sources[0], n_numbers=2, vector=True), *k.sources[1:])
    ),
    "its name is no identifier": lambda k: replace(k, name="my kernel"),
    "declares no sources": lambda k: replace(k, outputs=()),
    "is not finite": lambda k: replace(k, factor=np.nan),
    "has no function 'mass'": lambda k: replace(
        k, sources=(replace(k.sources[0], name="mass"), *k.sources[1:])
    ),
    "cannot be imported": lambda k: replace(k, module="nowhere.to.be.found"),
    "at the opposite offset": lambda k: replace(
        k, outputs=(replace(k.outputs[0], odd=not k.outputs[0].odd), *k.outputs[1:])
    ),
    "the power 7 of the distance": lambda k: replace(k, degree=7),
    "does not turn with space": lambda k: replace(
        k, sources=(replace(k.sources[0], vector=not k.sources[0].vector), *k.sources[1:])
    ),
    r"(numbers and check surfaces receive|fails|a vector has three)": lambda k: replace(
        k, sources=(replace(k.sources[0], n_numbers=k.sources[0].n_numbers + 1), *k.sources[1:])
    ),
    r"rows, expected \d+, of all outputs": lambda k: replace(
        k, outputs=(*k.outputs, taskfmm.kernels.Output("more", (2,), 3))
    ),
}


@pytest.mark.parametrize("problem", FAULTS)
def test_a_kernel_that_is_not_declared_fully_is_refused(kernel, problem):
    wrong = FAULTS[problem](kernel)
    if problem == "does not turn with space" and kernel.n_charge == 1:
        pytest.skip("one number cannot be told from a vector's")
    changed = wrong if "name" in problem else replace(wrong, name=f"other_{kernel.name}")
    with pytest.raises(InputError, match=problem):
        register(changed)
    assert changed.name not in KERNELS


COLUMN_FAULTS = {
    "vorticity_columns followed by columns is not vorticity": lambda k: replace(k, module="swirls"),
    "has no function 'columns'": lambda k: replace(k, module="unfinished"),
    r"columns\(dx, dy, dz, 2 numbers, parameters\) fails": lambda k: replace(k, columns=2),
    "its expansion has degree None, and it -1": lambda k: replace(
        k, expansion=importlib.import_module("screened").KERNEL
    ),
}


@pytest.mark.parametrize("kernel", ["vortices"], indirect=True)
def test_columns_that_do_not_stand_for_the_sources_are_refused(kernel, tmp_path, monkeypatch):
    """The velocity of another file turns the other way as it comes out of expansions."""
    text = (HERE / "vortices.py").read_text()
    (tmp_path / "swirls.py").write_text(
        text.replace("vorticity(dx, dy, dz, ax", "vorticity(-dx, -dy, -dz, ax")
    )
    (tmp_path / "unfinished.py").write_text(text[: text.index("@formula\ndef columns")])
    monkeypatch.syspath_prepend(str(tmp_path))
    for problem, fault in COLUMN_FAULTS.items():
        with pytest.raises(InputError, match=problem):
            register(replace(fault(kernel), name="swirls"))
    assert "swirls" not in KERNELS


def written(tmp_path, monkeypatch, name, text, **helpers):
    """A module of its own file, and others that it imports."""
    for each, content in {name: text, **helpers}.items():
        (tmp_path / f"{each}.py").write_text(content)
        sys.modules.pop(each, None)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return importlib.import_module(name).KERNEL


def test_an_edited_helper_gives_other_loops_and_operators(tmp_path, monkeypatch):
    """A formula may call what another file has, by its name or by the module's."""
    text = (HERE / "screened.py").read_text().replace("screened", "helped")
    text = text.replace("import numpy as np\n", "import numpy as np\nimport helper\n")
    text = text.replace("np.exp(", "helper.fall(")
    helper = "import numpy as np\nfrom taskfmm.jit import formula\n\n@formula\ndef fall(x):\n    return np.exp(x)\n"
    prints = [
        instances.fingerprint(written(tmp_path, monkeypatch, "helped", text, helper=each))
        for each in (helper, helper, helper.replace("np.exp(x)", "np.exp(2.0 * x)"))
    ]
    assert prints[0] == prints[1] != prints[2]


WRONG_FORMULAS = {
    "is not linear in its numbers": ("value = q *", "value = abs(q) *"),
    "expected a tuple of real numbers": ("return value,", "return 1j * value,"),
    "reads more parameters than the 1 declared": ("-parameters[0] * r)", "-parameters[1] * r)"),
    "is zero everywhere": ("value = q *", "value = 0.0 * q *"),
    "name 'misspelt'": ("np.exp(", "misspelt("),
}


@pytest.mark.parametrize("problem", WRONG_FORMULAS)
def test_a_formula_that_cannot_be_is_refused(tmp_path, monkeypatch, problem):
    old, new = WRONG_FORMULAS[problem]
    text = (HERE / "screened.py").read_text().replace("screened", "mistaken").replace(old, new)
    with pytest.raises(InputError, match=problem):
        register(written(tmp_path, monkeypatch, "mistaken", text))
    assert "mistaken" not in KERNELS


@pytest.mark.parametrize("kernel", ["screened"], indirect=True)
def test_what_is_no_declaration_is_refused(kernel):
    for changes, message in (
        (dict(sources=("charge",)), r"sources are .* expected a tuple of Sources"),
        (dict(outputs=kernel.outputs[0]), "outputs are .* expected a tuple of Outputs"),
        (dict(parameters=("a",)), "parameters are .* expected a tuple of real numbers"),
        (dict(factor=1j), "factor is no real number"),
        (dict(expansion="laplace"), "expansion is no Kernel"),
        (dict(columns=3), "'columns' are those of an expansion"),
        (dict(sources=(CHARGE, Source("wave", 2, complex=True))), "some sources are complex"),
    ):
        with pytest.raises(InputError, match=message):
            register(replace(kernel, name="no_kernel", **changes))
    with pytest.raises(InputError, match="expected real numbers"):
        kernel.with_parameters("a")


DIPOLES_IN_COLUMNS = """
import numpy as np
from taskfmm.jit import formula
from taskfmm.kernels import KERNELS, Kernel, Output, Source

KERNEL = Kernel("moments", __name__, 1.0, -1, expansion=KERNELS["laplace"],
    sources=(Source("moment", 3, odd=True, derivative=1, vector=True),), outputs=(Output("potential"),))


@formula
def moment(dx, dy, dz, px, py, pz, parameters):
    r2 = dx * dx + dy * dy + dz * dz
    cube = 1.0 / (r2 * np.sqrt(r2)) if r2 > 0.0 else 0.0
    return ((px * dx + py * dy + pz * dz) * cube,)


@formula
def moment_columns(dx, dy, dz, px, py, pz, parameters):
    return moment(dx, dy, dz, px, py, pz, parameters)


@formula
def columns(dx, dy, dz, q, parameters):
    r2 = dx * dx + dy * dy + dz * dz
    return (q / np.sqrt(r2) if r2 > 0.0 else 0.0,)
"""


def test_columns_of_dipoles_must_have_their_sign(tmp_path, monkeypatch):
    kernel = register(written(tmp_path, monkeypatch, "moments", DIPOLES_IN_COLUMNS))
    del KERNELS[kernel.name]
    wrong = DIPOLES_IN_COLUMNS.replace("return moment(dx, dy, dz", "return moment(-dx, -dy, -dz")
    with pytest.raises(InputError, match="moment_columns followed by columns is not moment"):
        register(written(tmp_path, monkeypatch, "moments", wrong))


EDITED = """
import sys; sys.path.insert(0, {here!r})
import numpy as np, taskfmm, screened
rng = np.random.default_rng(3)
x, q = rng.random((600, 3)), rng.uniform(-1, 1, 600)
fmm = taskfmm.Fmm(x, kernel=screened.KERNEL, order=5, leaf_size=20)
assert not fmm.plan.is_direct
exact = taskfmm.direct(x, q, kernel=screened.KERNEL)
found = fmm.serial(q)
assert np.linalg.norm(found - exact) <= 1e-3 * np.linalg.norm(exact)
print(found.tobytes().hex())
"""


def test_an_edited_formula_gets_other_operators_and_loops(tmp_path, monkeypatch):
    """Both are kept on disk between processes, and a process that reads them there gets the bits of the one that made
    them."""
    monkeypatch.setenv("TASKFMM_CACHE_DIR", str(tmp_path / "cache"))
    text, run = (HERE / "screened.py").read_text(), [sys.executable, "-c", EDITED.format(here=str(tmp_path))]
    edited = text.replace("parameters[0] * r) / r ", "2.0 * parameters[0] * r) / r ")
    found = []
    for now in (text, edited, edited):
        (tmp_path / "screened.py").write_text(now)
        found.append(subprocess.run(run, capture_output=True, check=True).stdout)
    assert found[0] != found[1] == found[2]
