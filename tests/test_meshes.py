"""The benchmark of periodic boxes: what it measures of ours, whose units peers have, and how settings are found."""

from __future__ import annotations

import importlib.util
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from bounds import PEER
from cases import each
from click.testing import CliRunner
from scipy import special

pytest.importorskip("benchmarks", reason="a source checkout has the benchmarks, the package has not")

import taskfmm
from benchmarks import fresh, periodic
from benchmarks.meshes import case, codes, search

EPS = 1e-3


def asked(**others):
    found = {
        "n": 2000,
        "eps": EPS,
        "name": "forces",
        "outputs": ["potential", "gradient"],
        "peers": [],
        "repeats": 1,
    }
    return found | {"seed": 3, "memory": 2**30} | others


@pytest.fixture(scope="module")
def problem():
    return search.Problem.random(2000, ["potential", "gradient"], seed=3)


def test_a_case_of_ours():
    given = asked()
    found = given | json.loads(json.dumps(case.run(given)))
    assert list(found["codes"]) == ["taskfmm", "taskfmm float32", "taskfmm free"]
    assert all(its["error"] <= EPS for its in found["codes"].values())
    assert found["codes"]["taskfmm"]["anew ratio"] == 1.0
    assert [line.split()[3] for line in periodic.rows(found)] == ["taskfmm"] * 3


@pytest.mark.parametrize("name", list(codes.PEERS))
def test_a_peer_gives_the_sum(name, problem):
    peer = codes.PEERS[name]
    for package in peer.needs:
        pytest.importorskip(package, reason=f"{package} is not installed: it is optional")
    setting = codes.Setting(peer.methods[-1], 32, 1 / 16, 0.3)
    for outputs in (["potential"], ["potential", "gradient"]):
        if outputs[-1] in peer.outputs:
            code = peer(problem.points, problem.charges, outputs, setting)
            assert problem.error(code.evaluate()) <= PEER
            found = code.evaluate(anew=True)
            assert outputs[-1] in found
            assert problem.error(found) <= PEER


@each("output", ["potential", "gradient"])
def test_the_neighbours_beyond_the_cutoff_are_worth_eps(output, problem):
    smearing = 0.06
    cutoff = search.cutoff(problem, output, smearing, 1e-2)
    r = problem.points[problem.rows][:, None] - problem.points
    r -= np.rint(r)
    distance = np.maximum(np.linalg.norm(r, axis=2), 1e-9)
    x = distance / (np.sqrt(2.0) * smearing)
    terms = special.erfc(x) / distance
    if output == "gradient":
        slope = terms / distance + np.sqrt(2.0 / np.pi) / smearing * np.exp(-x * x) / distance
        terms = -slope * (r / distance[:, :, None]).transpose(2, 0, 1)
    beyond = np.where(distance > cutoff, terms, 0.0) @ problem.charges * codes.FACTOR
    share = np.linalg.norm(beyond) / np.linalg.norm(problem.exact[output])
    assert 0.7e-2 < share < 1.4e-2  # the sum of random signs at 300 targets, not all of them independent


def pretended(problem, least, calls):
    """A peer that errs by half of eps from some width on, by twice as much as eps below it."""

    class Peer:
        needs = ()

        def __init__(self, points, charges, outputs, setting):
            calls.append(setting)
            self.factor = 1.0 + EPS * (0.5 if setting.smearing * setting.mesh >= least else 2.0)

        def evaluate(self, anew=False):
            found = np.zeros(len(problem.points))
            found[problem.rows] = self.factor * problem.exact["potential"]
            return {"potential": found}

    return Peer


@each("place", [0, 3, 17, 29])
def test_the_narrowest_width_that_keeps_eps(place, problem):
    calls = []
    peer = pretended(problem, search.WIDTHS[place] * (1 - 1e-9), calls)
    _, method, mesh, width = search.narrowest(peer, problem, "p3m 5", 32, EPS, lambda setting: True)
    assert (method, mesh, width) == ("p3m 5", 32, search.WIDTHS[place])
    assert len(calls) <= 5


def test_no_width_keeps_eps(problem):
    peer = pretended(problem, 100.0, [])
    assert search.narrowest(peer, problem, "p3m 5", 32, EPS, lambda setting: True) is None


def test_the_fastest_setting_is_widened_where_it_errs_in_the_whole_box(problem):
    """Of what is found in a part of the box: here the same number of points, of another seed."""
    sums, made = {}, []

    class Peer:
        needs, methods, in_float32, finest = (), ("slow 5", "quick 5"), False, 3.0

        def __init__(self, points, charges, outputs, setting):
            key = points[0, 0]
            if key not in sums:
                sums[key] = np.asarray(taskfmm.direct(points, charges, box=1.0))
            whole = points is problem.points
            least = 2.2 if whole else 2.0
            right = setting.smearing * setting.mesh >= least
            self.found, self.slow = (
                sums[key] * (1.0 + EPS * (0.5 if right else 2.0)),
                "slow" in setting.method,
            )
            made.append((whole, setting))

        def evaluate(self, anew=False):
            until = time.process_time() + 0.02 * self.slow
            while time.process_time() < until:
                pass
            return {"potential": self.found}

    alone = problem._replace(outputs=["potential"], exact={"potential": problem.exact["potential"]})
    found = search.fastest(Peer, alone, EPS, 2**30)
    assert found.method == "quick 5"
    assert found.smearing * found.mesh >= 2.2
    assert any(whole and setting.smearing * setting.mesh < 2.2 for whole, setting in made)
    assert search.fastest(Peer, alone, 1e-12, 2**30) is None


def test_settings_that_need_too_much(problem):
    peer = SimpleNamespace(needs=("torchpme",))
    setting = codes.Setting("p3m 5", 32, 1 / 32, 0.1)
    assert search.possible(peer, problem, setting, 1, 2**30)
    assert not search.possible(peer, problem, setting, 8, 2**30)
    assert not search.possible(peer, problem, setting._replace(cutoff=0.5), 1, 2**40)


@each("name", list(codes.PEERS))
def test_a_peer_that_is_not_installed(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    done = CliRunner().invoke(periodic.main, ["--peer", name])
    assert done.exit_code == 2
    words = " ".join(done.output.replace("│", " ").split())
    assert f"the package {codes.PEERS[name].needs[0]} is not installed" in words


def test_a_table_with_what_failed(monkeypatch, tmp_path):
    its = {
        "evaluation": 2.0,
        "evaluation ratio": 1.0,
        "anew": 3.0,
        "anew ratio": 1.0,
        "error": 1e-4,
        "setting": "",
    }

    def run(module, given, timeout):
        if given["name"] == "forces":
            return given | {"failed": "MemoryError"}
        return given | {"codes": {"taskfmm": its}, "missing": {"openmm": "has no potential"}}

    monkeypatch.setattr(fresh, "run", run)
    output = tmp_path / "out.json"
    done = CliRunner().invoke(periodic.main, ["--n", "1e3", "--eps", "1e-3", "-o", str(output)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()[-3:]
    assert lines[0].split()[3:] == ["taskfmm", "2.000", "1.00", "3.000", "1.00", "1.0e-04"]
    assert "openmm" in lines[1] and "has no potential" in lines[1]
    assert "failed: MemoryError" in lines[2]
    assert len(json.loads(output.read_text())["cases"]) == 2
