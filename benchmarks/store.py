"""What a plan in a file is worth: planning with operators kept or not, against saving and loading.

    python -m benchmarks.store [--n 1000000] [--eps 1e-6] [--shape cube] [--repeats 5] [--threads 1]

Every measurement is a process of its own, whose loops were compiled before. "cold" has an empty operator cache, and
so has loading, which needs none. "same leaves" is given the leaf size that was chosen, as a file of points and
choices alone would be planned again. The last column is a digest of a potential: saved and loaded plans give the
same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = ("plan, cold", "plan, warm", "same leaves", "save", "load")


def one(case: str, path: str, n: int, eps: float, shape: str) -> dict[str, object]:
    """Measure in this process."""
    import numpy as np

    import taskfmm
    from taskfmm.generate import cloud

    points, charges = cloud(shape, n, signed=True, seed=90210)
    make = taskfmm.Fmm  # imported here and now
    leaves = Path(path).with_suffix(".leaves")
    chosen = int(leaves.read_text()) if case == "same leaves" else None
    started = time.perf_counter()
    fmm = make.load(path) if case == "load" else make(points, eps=eps, leaf_size=chosen)
    seconds = time.perf_counter() - started
    if case == "save":
        fmm.operators("gradient")
        started = time.perf_counter()
        fmm.save(path)
        seconds = time.perf_counter() - started
        leaves.write_text(str(fmm.leaf_size))
    digest = ""
    if case in ("save", "load"):
        digest = hashlib.sha256(np.asarray(fmm.potential(charges)).data).hexdigest()[:12]
    return {"seconds": seconds, "digest": digest}


def measured(case: str, arguments: argparse.Namespace, directory: Path, kept: Path) -> dict[str, object]:
    """The same in a new process; operators are found in ``kept`` by those that may."""
    with tempfile.TemporaryDirectory(dir=directory) as empty:
        threads = {name: str(arguments.threads) for name in ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        cache = empty if case in ("plan, cold", "load") else str(kept)
        command = [
            sys.executable,
            "-m",
            "benchmarks.store",
            "--case",
            case,
            "--path",
            str(directory / "plan.h5"),
        ]
        command += ["--n", str(arguments.n), "--eps", str(arguments.eps), "--shape", arguments.shape]
        environment = os.environ | threads | {"TASKFMM_CACHE_DIR": cache}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--eps", type=float, default=1e-6)
    parser.add_argument("--shape", default="cube")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(one(arguments.case, arguments.path, arguments.n, arguments.eps, arguments.shape)))
        return
    with tempfile.TemporaryDirectory() as name:
        directory, kept = Path(name), Path(name, "operators")
        kept.mkdir()
        for case in ("save", "load"):  # compiles, and fills the cache
            measured(case, arguments, directory, kept)
        rows = {case: [] for case in CASES}
        for _ in range(arguments.repeats):  # in turn, so that a busy minute does not fall on one case alone
            for case in CASES:
                rows[case].append(measured(case, arguments, directory, kept))
        size = (directory / "plan.h5").stat().st_size
    load = statistics.median(row["seconds"] for row in rows["load"])
    print(
        f"{arguments.n:,} points in a {arguments.shape}, eps {arguments.eps:g}, {arguments.threads} thread(s); "
        f"the file has {size / 1e6:.0f} MB, {size / arguments.n:.0f} bytes a point"
    )
    print(f"{'':<11} {'median s':>9} {'best s':>8} {'worst s':>8} {'/ load':>7}  potential")
    for case, found in rows.items():
        seconds = [row["seconds"] for row in found]
        middle = statistics.median(seconds)
        digests = " ".join(sorted({str(row["digest"]) for row in found}))
        print(
            f"{case:<11} {middle:9.3f} {min(seconds):8.3f} {max(seconds):8.3f} {middle / load:7.1f}  {digests}"
        )


if __name__ == "__main__":
    main()
