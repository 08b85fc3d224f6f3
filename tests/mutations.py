"""Show that the quick suite notices bugs: ``python tests/mutations.py`` puts in those of `mutants.py`, one by one.

Each bug is applied to a fresh copy of the tree, and the quick suite runs there until its first failure. A bug that
no test notices is a hole in the suite, and the exit code is then 1. Not collected by pytest; see tests/README.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
COPIED = (
    "taskfmm",
    "tests",
    "benchmarks",
    "docs",
    "scheduler_configs",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
)
"""All that a test reads. What is missing here fails a test in every copy, and each bug would seem to be noticed."""

LONGEST = 3600
"""Seconds after which a suite hangs: noticed, too."""

CHANGES_OPERATORS = ("geometry", "kernels", "operators")
"""Folders whose bugs must not meet operators that were kept without them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """verdict : "caught", "SURVIVED", or "outdated" where the text to replace is no longer there exactly once"""

    name: str
    verdict: str
    by: str
    seconds: float


def occurrences(mutant: Mutant) -> int:
    """How often the text to replace stands in its file."""
    path = ROOT / "taskfmm" / mutant.file
    return path.read_text().count(mutant.old) if path.is_file() else 0


def mutated(mutant: Mutant) -> str:
    """The file with its bug."""
    return (ROOT / "taskfmm" / mutant.file).read_text().replace(mutant.old, mutant.new)


def copy_tree(to: Path) -> None:
    """With the times of modification, by which Python and Numba know their caches."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns(".*", "*.tmp"))
        elif source.is_file():
            shutil.copy2(source, to / name)


def callers_are_compiled(package: Path, file: str) -> bool:
    """Whether another file with compiled loops imports this one: Numba would not see that it has changed."""
    module = "taskfmm." + file.removesuffix(".py").replace("/", ".")
    parent, name = module.rsplit(".", 1)
    uses = re.compile(rf"from {re.escape(module)} import|from {re.escape(parent)} import .*\b{name}\b")
    texts = [path.read_text() for path in package.rglob("*.py") if path != package / file]
    return any("from taskfmm.jit import" in text and uses.search(text) for text in texts)


def put_in(mutant: Mutant, tree: Path) -> None:
    """Write the file with its bug, and drop what was compiled without it."""
    (tree / "taskfmm" / mutant.file).write_text(mutated(mutant))
    if callers_are_compiled(tree / "taskfmm", mutant.file):
        for kept in (*tree.rglob("*.nbi"), *tree.rglob("*.nbc")):
            kept.unlink()


def suite(tree: Path, first: tuple[str, ...]) -> list[str]:
    """The test files, those that should notice it first, those that take a minute to start last."""
    named = [f"tests/test_{name}.py" for name in first]
    late = ["tests/test_fresh_process.py"]
    left_out = ["tests/test_mutations.py"]  # sees at once that the text is gone
    rest = sorted(f"tests/{path.name}" for path in (tree / "tests").glob("test_*.py"))
    return [*named, *(name for name in rest if name not in (*named, *late, *left_out)), *late]


def first_failure(tree: Path, cache: Path, arguments: list[str]) -> str | None:
    """Run tests; what fails first, or None."""
    environment = dict(os.environ, PYTHONPATH=str(tree), TASKFMM_CACHE_DIR=str(cache))
    options = ["-x", "-q", "--tb=no", "-n", "0", "-p", "no:cacheprovider"]  # in the order of the files
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return f"hangs for {LONGEST} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"the process dies of signal {-done.returncode}"
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if found is None:
        raise click.ClickException(f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return found[1]


def noticed_by(tree: Path, cache: Path, named: tuple[str, ...]) -> str | None:
    """The test of the quick suite that fails first, or None.

    A failure outside the named files must come twice: on a busy machine a test may fail for reasons of its own.
    """
    files, unsteady = suite(tree, named), []
    while True:
        test = first_failure(tree, cache, [*files, *unsteady])
        if test is None or "::" not in test or test.split("::")[0] in files[: len(named)]:
            return test
        if first_failure(tree, cache, [test]):
            return test
        unsteady.append(f"--deselect={test}")


def judge(mutant: Mutant, shared_cache: Path) -> Outcome:
    """Put the bug into a copy of the tree and run the suite there."""
    if occurrences(mutant) != 1:
        return Outcome(mutant.name, "outdated", f"text found {occurrences(mutant)} times", 0.0)
    with tempfile.TemporaryDirectory(prefix="taskfmm-mutant-") as directory:
        tree = Path(directory)
        copy_tree(tree)
        put_in(mutant, tree)
        own_operators = mutant.file.split("/")[0] in CHANGES_OPERATORS
        started = time.perf_counter()
        test = noticed_by(tree, tree / "cache" if own_operators else shared_cache, mutant.first)
        seconds = time.perf_counter() - started
    return Outcome(mutant.name, "caught" if test else "SURVIVED", test or "", seconds)


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="This bug alone; may be given again.")
@click.option("--list", "listed", is_flag=True, help="Name the bugs and what they would do.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def main(only: tuple[str, ...], listed: bool, as_json: bool) -> None:
    """Put known bugs into copies of this tree and see whether the quick suite notices."""
    if unknown := set(only) - {mutant.name for mutant in MUTANTS}:
        raise click.BadParameter(f"no bug is called {', '.join(sorted(unknown))}; see --list")
    chosen = [mutant for mutant in MUTANTS if not only or mutant.name in only]
    if listed:
        for mutant in chosen:
            click.echo(f"{mutant.name:<34} {mutant.file:<24} {mutant.effect}")
        return
    counts = {"caught": 0, "SURVIVED": 0, "outdated": 0}
    with tempfile.TemporaryDirectory(prefix="taskfmm-operators-") as cache:
        for mutant in chosen:
            outcome = judge(mutant, Path(cache))
            counts[outcome.verdict] += 1
            line = f"{outcome.name:<34} {outcome.verdict:<9} {outcome.seconds:6.0f} s  {outcome.by}"
            click.echo(json.dumps(asdict(outcome)) if as_json else line)
    if not as_json:
        click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    sys.exit(counts["caught"] < len(chosen))


if __name__ == "__main__":
    main()
