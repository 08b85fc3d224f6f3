"""Benchmarks of all kernels beside other codes: whose units and signs are ours, and what the tables say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bounds import PEER
from cases import each
from click.testing import CliRunner

pytest.importorskip("benchmarks", reason="a source checkout has the benchmarks, the package has not")

from benchmarks import case, evaluate, forecast, fresh, peers, problem

N = 300

KERNELS = {
    "laplace": ([], "charges,dipoles", "potential,gradient,hessian"),
    "helmholtz": (["k=6.28+0.3j"], "charges,dipoles", "potential,gradient"),
    "stokes": (["viscosity=2"], "forces,stresslets,rotlets", "velocity,pressure,velocity_gradient"),
    "biot_savart": ([], "vorticity", "velocity,velocity_gradient"),
}
OF_PEER = [name for name in KERNELS if name in peers.OFFERED["fmm3dpy"]]


def one(kernel, code="taskfmm", **others):
    parameters, sources, outputs = KERNELS[kernel]
    (found,) = problem.problems([kernel], parameters, [sources], [outputs])
    found |= {"code": code, "shape": "cube", "n": N, "eps": 1e-4, "threads": 1, "seed": 5}
    return found | {"order": None, "leaf_size": 60, "repeats": 1} | others


@each("kernel", ["laplace", "biot_savart"])
def test_a_case_of_ours(kernel):
    asked = json.loads(json.dumps(one(kernel)))
    found = case.run(asked)
    assert set(found["errors"]) == set(asked["outputs"])
    assert max(found["errors"].values()) <= asked["eps"]
    assert found["operator_seconds"] >= 0.0
    assert evaluate.row(found).split()[:2] == ["taskfmm", kernel]


@each("kernel", OF_PEER)
def test_a_peer_gives_the_sum_of_each_kind_of_source(kernel):
    pytest.importorskip("fmm3dpy")
    for kind in KERNELS[kernel][1].split(","):
        found = case.run(one(kernel, "fmm3dpy", sources=[kind]))
        assert set(found["errors"]) == set(found["outputs"])
        assert max(found["errors"].values()) <= PEER, kind
    assert max(case.run(one(kernel, "fmm3dpy"))["errors"].values()) <= PEER


def test_products_come_apart_into_their_vectors():
    _, given = problem.points_and_charges(one("stokes", sources=["stresslets"]), 50)
    a, b = peers._vectors(given["stresslets"])
    np.testing.assert_allclose(a[:, :, None] * b[:, None, :], given["stresslets"], atol=1e-13)


def test_what_a_peer_does_not_have():
    assert peers.offers("fmm3dpy", one("laplace"))
    assert not peers.offers("jaxfmm", one("laplace"))
    assert not peers.offers("fmm3dpy", one("biot_savart"))
    assert peers.offers("jaxfmm", one("laplace", sources=["charges"], outputs=["potential"]))


OF_P2P = {"seconds": 1.5, "cpu_seconds": 1.5, "least_cpu_seconds": 1.2}
RATES = dict.fromkeys(("pairs_a_point", "flops_a_point", "pair_rate", "gemm_rate"), 1.0)


@pytest.fixture
def pretended(monkeypatch):
    """Cases that take no time: ours 1 s for the plan and 2 s for an evaluation, others 0.5 s and 11.5 s."""
    ran = []

    def run(module, asked, timeout):
        ran.append(asked)
        ours = asked["code"] == "taskfmm"
        seconds = {"plan_seconds": 1.0, "evaluation_seconds": 2.0, "operators": {"P2P": OF_P2P}}
        if not ours:
            seconds = {"plan_seconds": 0.5, "evaluation_seconds": 11.5}
        errors = dict.fromkeys(asked["outputs"], 1e-7)
        return asked | seconds | {"errors": errors, "bytes_a_point": 100.0, **RATES}

    monkeypatch.setattr(fresh, "run", run)
    return ran


def test_tables_of_several_kernels(pretended, tmp_path):
    arguments = [
        "--kernel",
        "laplace",
        "--kernel",
        "gravity",
        "--n",
        "1e3",
        "--eps",
        "1e-3",
        "--shape",
        "cube",
    ]
    arguments += ["--threads", "1", "--peer", "fmm3dpy", "-o", str(tmp_path / "out.json")]
    refused = CliRunner().invoke(evaluate.main, arguments)
    assert "kernel 'gravity' has parameters" in refused.output or "needs softening" in refused.output
    arguments[3] = "biot_savart"
    done = CliRunner().invoke(evaluate.main, arguments)
    assert done.exit_code == 0, done.output
    assert [(asked["kernel"], asked["code"]) for asked in pretended] == [
        ("laplace", "taskfmm"), ("laplace", "fmm3dpy"), ("biot_savart", "taskfmm")
    ]  # fmt: skip
    lines = done.output.splitlines()
    first = next(i for i, line in enumerate(lines) if line == evaluate.RATIOS)
    assert lines[first + 1].split()[:3] == ["laplace", "charges", "potential"]
    assert lines[first + 1].split()[8:12] == ["12.000", "2.000", "6.0", "4.0"]
    assert lines[first + 2].split()[:3] == ["biot_savart", "vorticity", "vector_potential"]
    assert lines[first + 2].split()[8:] == ["-"]
    assert any(line.startswith("fmm3dpy") and line.split()[-1] == "-" for line in lines)
    assert len(json.loads((tmp_path / "out.json").read_text())["cases"]) == 4


@each(
    "options, complaint",
    [
        (["--kernel", "lapace"], "did you mean 'laplace'"),
        (["--outputs", "velocity"], "outputs: 'velocity' is not known"),
        (["--sources", "charge"], "did you mean 'charges'"),
        (["--kernel", "yukawa"], "needs lam"),
        (["--kernel", "yukawa", "--kernel-param", "lam"], "is not NAME=VALUE"),
        (["--kernel", "yukawa", "--kernel", "laplace", "--kernel-param", "lam=1"], "give one --kernel"),
    ],
)
@each("script", [evaluate, forecast])
def test_options_that_fit_no_kernel(script, options, complaint):
    done = CliRunner().invoke(script.main, options)
    assert done.exit_code == 2
    assert complaint in " ".join(done.output.replace("│", " ").split())


def test_names_stand_in_the_order_of_the_kernel():
    (found,) = problem.problems(["laplace"], [], ["dipoles, charges"], ["hessian,potential"])
    assert (found["sources"], found["outputs"]) == (["charges", "dipoles"], ["potential", "hessian"])
    assert problem.label(found) == "laplace c,d: p,h"


def test_forecasts_of_a_kernel():
    asked = one("stokes", sources=["forces"], cluster=False, warm=False, load=0.0)
    found = asked | forecast.in_threads(asked)
    assert found["forecast"]["outputs"] == asked["outputs"]
    assert set(found["operators"]) == set(found["forecast"]["operators"])
    assert forecast.row(found).startswith("stokes viscosity=2 f: v,p,vg")
    assert "P2P" in forecast.operator_rows([found])[0]
