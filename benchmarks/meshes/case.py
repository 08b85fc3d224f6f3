"""One case of `benchmarks.periodic` in a process of its own, so that the codes take turns in it."""

from __future__ import annotations

import json
import sys
from statistics import median
from typing import Any

import numpy as np

from benchmarks.meshes.codes import PEERS, Ours
from benchmarks.meshes.search import NEIGHBOURS, Problem, exact, fastest, timed
from taskfmm import bench

BOTH = ("evaluation", "anew")


def ours(problem: Problem, eps: float) -> dict[str, Ours]:
    """taskfmm in the periodic box, in float32 where eps allows, and free."""
    given = problem.points, problem.charges, problem.outputs
    found = {"taskfmm": Ours(*given, eps=eps, box=1.0)}
    if eps >= 1e-5:
        found["taskfmm float32"] = Ours(*given, eps=eps, box=1.0, dtype=np.float32)
    return found | {"taskfmm free": Ours(*given, eps=eps)}


def run(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds, ratios and errors of every code of a case; ``missing`` for what reaches no eps."""
    problem = Problem.random(case["n"], case["outputs"], case["seed"])
    codes: dict[str, Any] = dict(ours(problem, case["eps"]))
    settings: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in case["peers"]:
        peer = PEERS[name]
        if not set(problem.outputs[-1:]) <= set(peer.outputs):
            missing[name] = f"has no {problem.outputs[-1]}"
            continue
        best = fastest(peer, problem, case["eps"], case["memory"])
        if best is None:
            room = f"{case['memory'] / 2**30:.0f} GiB"
            missing[name] = f"reaches no {case['eps']:g} with up to {NEIGHBOURS} neighbours within {room}"
            continue
        codes[name] = peer(problem.points, problem.charges, problem.outputs, best)
        settings[name] = best.words(case["n"])
    return {"codes": turns(problem, codes, settings, case["repeats"]), "missing": missing}


def turns(
    problem: Problem, codes: dict[str, Any], settings: dict[str, str], repeats: int
) -> dict[str, dict[str, Any]]:
    """Evaluations that take turns, each with and without a new plan or list of neighbours."""
    errors = {}
    for name, code in codes.items():
        code.evaluate(anew=True)
        errors[name] = problem.error(code.evaluate()) if name != "taskfmm free" else free(problem, code)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in codes}
    for _ in range(repeats):
        for name, code in codes.items():
            seconds[name].append((timed(code)[0], timed(code, anew=True)[0]))
    base = np.array(seconds["taskfmm"])
    found = {}
    for name, own in seconds.items():
        ratios = np.median(np.array(own) / base, axis=0)
        found[name] = {"error": errors[name], "setting": settings.get(name, "")}
        found[name] |= dict(zip(BOTH, (median(each) for each in zip(*own, strict=True)), strict=True))
        found[name] |= {f"{which} ratio": float(ratio) for which, ratio in zip(BOTH, ratios, strict=True)}
    return found


def free(problem: Problem, code: Ours) -> float:
    """The error of a sum without images."""
    given = problem.points, problem.charges, problem.rows, problem.outputs
    found, without = code.evaluate(), exact(*given)
    return max(bench.relative_error(found[name][problem.rows], without[name]) for name in without)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    result = json.dumps(asked | run(asked))
    print(f"\n{result}")
