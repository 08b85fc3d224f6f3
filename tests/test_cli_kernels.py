"""Kernels on the command line: their names and parameters, the datasets of their sources, their outputs."""

from __future__ import annotations

import inspect
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import dask
import h5py
import numpy as np
import pytest
from cases import each
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main
from taskfmm.errors import InputError
from taskfmm.files import journal
from taskfmm.kernels import KERNELS, find, named
from taskfmm.kernels.registry import CONSTRUCTORS

RNG = np.random.default_rng(3037000)
N, M = 60, 20
SOURCES, TARGETS = RNG.random((N, 3)), RNG.random((M, 3))
PARAMETERS = {
    "yukawa": {"lam": 2.0},
    "helmholtz": {"k": 2 + 0.5j},
    "stokes": {"viscosity": 0.5},
    "gravity": {"softening": 0.1, "G": 2.0},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(*arguments, code=0):
    with dask.config.set(scheduler="synchronous"):
        result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def error(*arguments, code=2):
    return call(*arguments, code=code).stderr.splitlines()[-1]


def write(name="in.h5", **datasets):
    with h5py.File(name, "w") as file:
        file.update(datasets)
    return name


def given(kernel, n=N):
    """An array for each kind of source."""
    real = {kind.given_as: RNG.uniform(-1, 1, (n, *kind.of_one)) for kind in kernel.sources}
    wide = {kind.given_as for kind in kernel.sources if kind.complex}
    return {name: array + 1j * array[::-1] if name in wide else array for name, array in real.items()}


def options(name):
    """Those of the command line for a kernel with the parameters above."""
    values = [f"{key}={value:g}" for key, value in PARAMETERS.get(name, {}).items()]
    return ["--kernel", name, *(part for value in values for part in ("--kernel-param", value))]


@pytest.mark.parametrize("name", ["laplace", "biot_savart", *PARAMETERS])
def test_all_sources_and_all_outputs(name):
    kernel = named(name, PARAMETERS.get(name, {}))
    sources = given(kernel)
    write(sources=SOURCES, targets=TARGETS, **sources)
    outputs = ",".join(kernel.names)
    arguments = ["in.h5", "-o", "out.h5", "--eps", "1e-2", *options(name)]
    report = json.loads(call("run", *arguments, "--outputs", outputs, "--check", "--json").stdout)
    exact = taskfmm.direct(SOURCES, targets=TARGETS, kernel=kernel, outputs=kernel.names, **sources)
    with h5py.File("out.h5") as file:
        assert set(file) == set(kernel.names)
        for output in kernel.names:
            assert file[output].dtype == exact[output].dtype
            np.testing.assert_allclose(file[output][()], exact[output], rtol=1e-10)
        settings = dict(file.attrs)
    assert (settings["kernel"], settings["eps"]) == (name, 1e-2)
    assert tuple(settings.get("parameters", ())) == kernel.parameters == tuple(report.get("parameters", ()))
    errors = {key for key in report if key.startswith("error")}
    assert errors == {"error_estimate", *(f"error_estimate_{output}" for output in kernel.names[1:])}
    # the sources one by one, with the first output alone
    write(sources=SOURCES, targets=TARGETS, **dict([list(sources.items())[-1]]))
    text = call("run", *arguments, "--check").output
    assert f"({kernel.names[0]}, relative l2" in text
    last = dict([list(sources.items())[-1]])
    with h5py.File("out.h5") as file:
        assert list(file) == [kernel.names[0]]
        only = taskfmm.direct(SOURCES, targets=TARGETS, kernel=kernel, **last)
        np.testing.assert_allclose(file[kernel.names[0]][()], only, rtol=1e-10)


@each(
    "arguments, text",
    [
        (["--kernel", "yukava"], "kernel: 'yukava' is not known: did you mean 'yukawa'?"),
        (["--kernel", "one"], "kernel: 'one' is not known: choose from biot_savart, "),
        (["--kernel", "yukawa"], "kernel 'yukawa' needs lam: give lam=NUMBER"),
        (["--kernel", "yukawa", "--kernel-param", "k=1"], "kernel 'yukawa' has no parameter 'k': it has lam"),
        (["--kernel-param", "k=1"], "kernel 'laplace' has no parameter 'k': it has none"),
        (
            ["--kernel", "yukawa", "--kernel-param", "lam=-1"],
            "screening length, is -1.0: give a positive number",
        ),
        (
            ["--kernel", "yukawa", "--kernel-param", "lam=1j"],
            "screening length, is 1j: give a positive number",
        ),
        (["--kernel", "yukawa", "--kernel-param", "lam"], "'lam' is not NAME=VALUE, as lam=2.0"),
        (
            ["--kernel", "yukawa", "--kernel-param", "lam=two"],
            "lam is 'two': give a number, as 2.0, or for a",
        ),
        (["--kernel-param", "lam=1", "--kernel-param", "lam=1"], "lam is given twice"),
        (
            ["--kernel", "gravity", "--kernel-param", "softening=0.1", "--kernel-param", "kind=splin"],
            "kind: 'splin' is not known: did you mean 'spline'",
        ),
        (
            ["--kernel", "gravity", "--kernel-param", "softening=0.1", "--kernel-param", "kind=2"],
            "kind: 2.0 is not known: choose from plummer, spline",
        ),
        (["--outputs", "gradent"], "outputs: 'gradent' is not known: did you mean 'gradient'?"),
        (["--outputs", ""], "outputs: '' is not known: choose from potential, gradient, hessian"),
        (
            ["--outputs", "potential", "--gradient"],
            "--gradient cannot be given with --outputs: name gradient",
        ),
        (
            ["--kernel", "biot_savart", "--gradient"],
            "--gradient is for kernels with potential and gradient: give --outputs with some of vector_potential, "
            "velocity, velocity_gradient, those of kernel biot_savart",
        ),
        (
            ["--kernel", "biot_savart", "--charges-batch"],
            "--charges-batch is for kernels whose first source is one number for each point, and vorticity of kernel "
            "biot_savart are several: leave it out",
        ),
    ],
)
def test_wrong_options_are_said_before_anything_is_read(arguments, text):
    assert text in error("run", "none.h5", "-o", "out.h5", *arguments)
    assert os.listdir() == []


def test_names_and_the_commands_agree(monkeypatch):
    """`Fmm` and the command line know a kernel by the same constructors."""
    for name in CONSTRUCTORS:
        if name in KERNELS:
            assert KERNELS[name].name == name
    with pytest.raises(
        InputError, match=r"give the kernel itself, as taskfmm\.kernels\.Yukawa\(lam=\.\.\.\)"
    ):
        find("yukawa")
    with pytest.raises(InputError, match=r"as taskfmm\.kernels\.Stokes\(viscosity=1\.0\)"):
        find("stokes")
    with pytest.raises(InputError, match=r"as taskfmm\.kernels\.examples\.Gaussian\(width=\.\.\.\)"):
        find("gaussian")
    monkeypatch.setitem(KERNELS, "gaussian", replace(KERNELS["one"], name="gaussian", module="mine"))
    assert find("gaussian").module == "mine"
    assert named("stokes", {}) == KERNELS["stokes"]
    assert find("biot_savart") is KERNELS["biot_savart"]


def test_kernels_of_one_function(kernels_kept):
    charges = np.ones(N)
    write(sources=SOURCES, charges=charges)
    with pytest.raises(InputError, match="'matern_3_2' is not known: did you mean 'matern'"):
        named("matern_3_2", {})
    call("run", "in.h5", "-o", "out.h5", "--kernel", "matern", "--kernel-param", "length=0.5")
    with h5py.File("out.h5") as file:
        exact = taskfmm.direct(SOURCES, charges, kernel=taskfmm.kernels.examples.Matern(0.5))
        np.testing.assert_allclose(file["potential"][()], exact, rtol=1e-10)
    with pytest.raises(
        InputError, match="'matern_3_2' has parameters, which its name does not tell: give the"
    ):
        find("matern_3_2")


@each(
    "kernel, datasets, text",
    [
        (
            "stokes",
            dict(charges=np.ones(N)),
            "in.h5: no source of kernel stokes is there; found /charges, /sources; expected /sources (n, 3) and at "
            "least one of /forces (n, 3), /stresslets (n, 3, 3), /rotlets (n, 3, 3) for kernel stokes",
        ),
        ("biot_savart", dict(), "expected /sources (n, 3) and /vorticity (n, 3) for kernel biot_savart"),
        ("biot_savart", dict(vorticity=np.ones((3, N))), "vorticity has shape (3, 60), expected (60, 3)"),
        (
            "biot_savart",
            dict(vorticity=np.ones((N, 3)) * 1j),
            "/vorticity holds complex numbers, expected real",
        ),
        ("stokes", dict(stresslets=np.ones((N, 9))), "stresslets has shape (60, 9), expected (60, 3, 3)"),
        ("stokes", dict(forces=np.full((N, 3), np.nan)), "forces row 0 is not finite"),
        (
            "helmholtz",
            dict(charges=["a"] * N),
            "/charges holds strings, expected numbers: write it, for example, as",
        ),
        ("helmholtz", dict(charges=np.full(N, np.nan * 1j)), "charges row 0 is not finite"),
    ],
)
def test_a_file_for_another_kernel(kernel, datasets, text):
    write(sources=SOURCES, **datasets)
    assert text in error("run", "in.h5", "-o", "out.h5", *options(kernel), code=1)


def test_real_numbers_are_complex_enough():
    q = RNG.uniform(-1, 1, N).astype("f4")
    write(sources=SOURCES, charges=q)
    call("run", "in.h5", "-o", "out.h5", *options("helmholtz"), "--gradient")
    with h5py.File("out.h5") as file:
        assert set(file) == {"potential", "gradient"}
        kernel = named("helmholtz", PARAMETERS["helmholtz"])
        np.testing.assert_allclose(
            file["potential"][()], taskfmm.direct(SOURCES, q, kernel=kernel), rtol=1e-10
        )


def test_other_commands_take_a_kernel_and_a_plan_brings_its_own():
    kernel = named("stokes", PARAMETERS["stokes"])
    sources = given(kernel)
    write(sources=SOURCES, targets=TARGETS, **sources)
    assert "stokes" in call("explain", "in.h5", *options("stokes"), "--eps", "1e-2").output
    table = call("profile", "in.h5", *options("stokes"), "--outputs", "velocity", "--eps", "1e-2").output
    assert "P2P" in table
    write("points.h5", sources=SOURCES, targets=TARGETS)
    call("plan", "points.h5", "-o", "plan.h5", *options("stokes"), "--eps", "1e-2")
    write("forces.h5", forces=sources["forces"])
    run = ("run", "forces.h5", "-o", "out.h5", "--plan", "plan.h5")
    report = json.loads(call(*run, "--outputs", "pressure", "--check", "--json").stdout)
    assert (report["kernel"], report["parameters"]) == ("stokes", [0.5])
    assert report["error_estimate_pressure"] <= 1e-2
    exact = taskfmm.direct(SOURCES, sources["forces"], TARGETS, kernel, "pressure")["pressure"]
    with h5py.File("out.h5") as file:
        np.testing.assert_allclose(file["pressure"][()], exact, rtol=1e-10)
        np.testing.assert_array_equal(file.attrs["parameters"], [0.5])
    assert "did you mean 'pressure'?" in error(*run, "--outputs", "presure")
    assert "--kernel-param cannot be given with --plan" in error(*run, "--kernel-param", "viscosity=2")
    write("charges.h5", charges=np.ones(N))
    expected = (
        "expected at least one of /forces (n, 3), /stresslets (n, 3, 3), /rotlets (n, 3, 3) for kernel stokes"
    )
    assert expected in error("run", "charges.h5", *run[2:], code=1)


def test_a_killed_batch_of_complex_vectors_goes_on(monkeypatch):
    vectors = RNG.normal(size=(9, N)) + 1j * RNG.normal(size=(9, N))
    write(sources=SOURCES, targets=TARGETS, charges=vectors)
    run = (
        "run",
        "in.h5",
        "-o",
        "out.h5",
        *options("helmholtz"),
        "--charges-batch",
        "--gradient",
        "--eps",
        "1e-2",
    )
    put = journal.Journal.write

    def dying(self, vector, *rest):
        if vector == 8:  # of the second block
            raise KeyboardInterrupt
        put(self, vector, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "write", dying)
        call(*run, code=1)
    assert not os.path.exists("out.h5")
    other = [text.replace("k=2", "k=3") for text in run]
    assert "is an unfinished run with other settings (parameters [2.0, 0.5], now [3.0, 0.5])" in error(
        *other, code=1
    )
    report = json.loads(call(*run, "--check", "--json").stdout)
    assert report["n_found"] == 8
    assert max(report["error_estimate"], report["error_estimate_gradient"]) <= 1e-2
    kernel = named("helmholtz", PARAMETERS["helmholtz"])
    with h5py.File("out.h5") as file:
        assert file["gradient"].dtype == np.complex128
        for vector, potential, gradient in zip(vectors, file["potential"], file["gradient"], strict=True):
            exact = taskfmm.direct(SOURCES, vector, TARGETS, kernel, kernel.names)
            np.testing.assert_allclose(potential, exact["potential"], rtol=1e-10)
            np.testing.assert_allclose(gradient, exact["gradient"], rtol=1e-10)


def test_a_batch_takes_one_kind_of_source():
    write(sources=SOURCES, charges=np.ones((2, N)), dipoles=np.ones((N, 3)))
    text = error("run", "in.h5", "-o", "out.h5", "--charges-batch", code=1)
    assert "in.h5: /dipoles is there, and --charges-batch takes /charges alone: leave out one of both" in text


def test_a_hessian_of_many_vectors():
    vectors = RNG.normal(size=(2, N))
    write(sources=SOURCES, charges=vectors)
    call("run", "in.h5", "-o", "out.h5", "--charges-batch", "--outputs", "hessian")
    with h5py.File("out.h5") as file:
        assert list(file) == ["hessian"]
        assert file["hessian"].chunks == (1, N, 3, 3)
        for vector, found in zip(vectors, file["hessian"], strict=True):
            exact = taskfmm.direct(SOURCES, vector, outputs="hessian")["hessian"]
            np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_generated_sources_of_a_kernel():
    for name, dataset, shape, dtype in [
        ("stokes", "forces", (N, 3), np.float64),
        ("helmholtz", "charges", (N,), np.complex128),
        ("yukawa", "charges", (N,), np.float64),
    ]:
        for charges, lowest in [("signed", -1.0), ("positive", 0.0)]:
            made = (
                "generate",
                "cube",
                "-n",
                N,
                "-o",
                "in.h5",
                "--seed",
                5,
                "--kernel",
                name,
                "--charges",
                charges,
            )
            assert f"(cube, {dataset} {charges}, seed 5)" in call(*made).output
            with h5py.File("in.h5") as file:
                assert set(file) == {"sources", dataset}
                assert (file[dataset].shape, file[dataset].dtype) == (shape, dtype)
                numbers = file[dataset][()].view(np.float64)
                assert lowest <= numbers.min() < lowest + 0.1
                assert 0.9 < numbers.max() < 1.0
        call("run", "in.h5", "-o", "out.h5", *options(name))
    assert "did you mean 'stokes'?" in error("generate", "cube", "-n", 5, "-o", "no.h5", "--kernel", "stoks")
    assert not os.path.exists("no.h5")


def test_the_page_names_all_kernels_with_their_datasets():
    page = (Path(__file__).parents[1] / "docs" / "command_line.md").read_text()
    for name in KERNELS.keys() & CONSTRUCTORS.keys():
        kernel = KERNELS[name]
        if ":" in kernel.module:  # made of a function, by another test
            continue
        row = next(line for line in page.splitlines() if re.match(rf"\| \[?`{name}`", line))
        parameters = [f"`{each}`" for each in inspect.signature(CONSTRUCTORS[name]).parameters]
        datasets = [
            f"`/{kind.given_as} {str(('n', *kind.of_one)).replace(chr(39), '')}`" for kind in kernel.sources
        ]
        for part in (*parameters, *datasets, *(f"`{output}`" for output in kernel.names)):
            assert part in row
