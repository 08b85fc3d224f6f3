"""What tests of batch benchmarks share: small matrices, a case and what it gives."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from click.testing import CliRunner

from benchmarks import batch
from benchmarks.batches.matrix import Case

ROOT = Path(__file__).parents[1]
THREADS = {"scheduler": "threads"}
SMALL = {"n": [500], "distribution": ["cube"], "eps": ["1e-3"], "repeats": 1}
CASE = Case("cube", 500, 1e-3, "laplace", "potential", 1, 1, 1, 977, 1)

MEASURED = {
    "plan_seconds": 0.1,
    "first_evaluation_seconds": 0.2,
    "evaluation_seconds": 0.1,
    "evaluation_cpu_seconds": 0.1,
    "error": 2e-4,
    "bytes_a_point": 300.0,
    "pairs_a_point": 1500.0,
    "tasks": 7,
}


def write(folder: Path, content: dict, config: dict = THREADS) -> list[str]:
    """A matrix and a configuration; gives the arguments of the command."""
    (folder / "matrix.yaml").write_text(yaml.safe_dump(content))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    found, configured, out = (str(folder / path) for path in ("matrix.yaml", "config.yaml", "out"))
    return [found, "--config", configured, "-o", out]


def invoke(arguments: list[str]):
    return CliRunner().invoke(batch.main, arguments)


def records(folder: Path) -> list[dict]:
    return json.loads((folder / "results.json").read_text())
