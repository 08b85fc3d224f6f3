"""A matrix of cases from YAML: the product of its lists, less what it excludes, and cases made by hand.

Everything in the file is checked before anything runs.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taskfmm import choices
from taskfmm.errors import InputError
from taskfmm.generate import SHAPES
from taskfmm.kernels import KERNELS
from taskfmm.sessions import configurations

OUTPUTS = ("potential", "gradient", "potential+gradient")
REPEATS = 3
TIMEOUT = 900.0


@dataclass(frozen=True)
class Case:
    """One case: a cloud, what to compute of it, and Dask threads x Numba threads x workers to do it with."""

    distribution: str
    n: int
    eps: float
    kernel: str
    outputs: str
    dask_threads: int
    numba_threads: int
    workers: int
    seed: int
    repeats: int

    @property
    def cores(self) -> int:
        """Threads that may run at once, over all workers."""
        return self.workers * self.dask_threads * self.numba_threads

    def name(self, config: Mapping[str, Any]) -> str:
        """The name of its file: readable, and another one for every other case or configuration."""
        text = json.dumps([asdict(self), config], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        how = f"{self.workers}w{self.dask_threads}x{self.numba_threads}"
        return f"{self.distribution}-{self.n}-{self.eps:g}-{self.kernel}-{self.outputs}-{how}-{digest}"


@dataclass(frozen=True)
class Matrix:
    """The cases in the order they run, and the seconds one may take."""

    cases: tuple[Case, ...]
    timeout: float


def read(path: Path) -> Matrix:
    """Read and check a matrix.

    Raises
    ------
    InputError
        The file cannot be read, or something in it cannot be meant; the message names the key.

    Examples
    --------
    >>> matrix = read(Path("benchmarks/matrices/quick.yaml"))
    >>> matrix.cases[0].distribution
    'cube'
    """
    content = configurations.read(path, "n: [1e4, 1e5]")
    try:
        return parse(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def parse(content: Any) -> Matrix:
    """The matrix in what YAML gave."""
    if not isinstance(content, Mapping) or not content:
        raise InputError("expected keys with lists of values, for example n: [1e4, 1e5]")
    for key in content:
        _known("key", key, [*AXES, *SINGLE, "exclude", "cases"])
    single = {key: check(key, content.get(key, default)) for key, (check, default) in SINGLE.items()}
    axes = {key: _values(key, content[key]) for key in AXES if key in content}
    excluded = [_part(f"exclude[{i}]", entry) for i, entry in enumerate(_list("exclude", content))]
    chosen = _drop(excluded, _product(axes)) if _NEEDED & set(axes) or "cases" not in content else []
    by_hand = [
        made
        for i, entry in enumerate(_list("cases", content))
        for made in _product(_part(f"cases[{i}]", entry), f"cases[{i}]: ")
    ]
    cases = [_case(values, single["repeats"]) for values in [*chosen, *by_hand]]
    if not cases:
        raise InputError("every case is excluded, nothing is left to run")
    return Matrix(tuple(dict.fromkeys(cases)), single["timeout"])


def _product(axes: Mapping[str, list[Any]], where: str = "") -> list[dict[str, Any]]:
    """Every combination; the first axis of `AXES` changes slowest."""
    missing = [key for key in AXES if key in _NEEDED and key not in axes]
    if missing:
        raise InputError(f"{where}{missing[0]} is missing: give a list, for example {_EXAMPLE[missing[0]]}")
    lists = [axes.get(key, [default]) for key, (_, default) in AXES.items()]
    return [dict(zip(AXES, values, strict=True)) for values in itertools.product(*lists)]


def _drop(excluded: list[dict[str, list[Any]]], cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases that no entry matches in all of its keys."""

    def matches(entry: dict[str, list[Any]], case: dict[str, Any]) -> bool:
        return all(case[key] in values for key, values in entry.items())

    for i, entry in enumerate(excluded):
        if not any(matches(entry, case) for case in cases):
            raise InputError(f"exclude[{i}] matches no case: its values must be among those of the lists")
    return [case for case in cases if not any(matches(entry, case) for entry in excluded)]


def _part(where: str, entry: Any) -> dict[str, list[Any]]:
    if not isinstance(entry, Mapping) or not entry:
        raise InputError(f"{where} is {entry!r}, expected keys with values, for example {{n: 1e6}}")
    for key in entry:
        _known(f"{where}: key", key, list(AXES))
    return {key: _values(f"{where}: {key}", value, key) for key, value in entry.items()}


def _case(values: Mapping[str, Any], repeats: int) -> Case:
    rest = {key: value for key, value in values.items() if key != "threads"}
    dask_threads, numba_threads = values["threads"]
    return Case(**rest, dask_threads=dask_threads, numba_threads=numba_threads, repeats=repeats)


def _list(key: str, content: Mapping[str, Any]) -> list[Any]:
    value = content.get(key, [])
    if not isinstance(value, list):
        raise InputError(f"{key} is {value!r}, expected a list")
    return value


def _values(where: str, value: Any, key: str | None = None) -> list[Any]:
    """The checked values of an axis; one value may stand without a list."""
    if value is None or value == []:
        raise InputError(f"{where} is empty: give at least one value or leave it out")
    check = AXES[key or where][0]
    return [check(where, item) for item in (value if isinstance(value, list) else [value])]


def _known(what: str, name: Any, choices: Iterable[str]) -> str:
    choices = list(choices)
    if isinstance(name, str) and name in choices:
        return name
    near = difflib.get_close_matches(str(name).lower(), choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(choices)}"
    raise InputError(f"{what} {name!r} is not known: {hint}")


def _choice(choices: Iterable[str]) -> Callable[[str, Any], str]:
    return lambda where, value: _known(where, value, choices)


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e6 and 1e-3, without a dot or a sign, for text; they are meant as numbers."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _whole(least: int) -> Callable[[str, Any], int]:
    def check(where: str, value: Any) -> int:
        number = _number(value)
        fits = isinstance(number, (int, float)) and not isinstance(number, bool) and least <= number < 2**63
        if not fits or number != int(number):
            raise InputError(f"{where} is {value!r}, expected a whole number of at least {least}")
        return int(number)

    return check


def _eps(where: str, value: Any) -> float:
    try:
        return choices.eps(_number(value))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _split(where: str, value: Any) -> tuple[int, int]:
    """Dask threads x Numba threads, written 2x1."""
    parts = value.split("x") if isinstance(value, str) else []
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"{where} is {value!r}, expected Dask threads x Numba threads, for example 2x1")
    return int(parts[0]), int(parts[1])


def _seconds(where: str, value: Any) -> float:
    number = _number(value)
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < float("inf"):
        raise InputError(f"{where} is {value!r}, expected seconds above 0")
    return float(number)


AXES: dict[str, tuple[Callable[[str, Any], Any], Any]] = {
    "n": (_whole(1), None),
    "distribution": (_choice(SHAPES), None),
    "eps": (_eps, None),
    "kernel": (_choice(KERNELS), "laplace"),
    "outputs": (_choice(OUTPUTS), "potential"),
    "threads": (_split, (1, 1)),
    "workers": (_whole(1), 1),
    "seed": (_whole(0), 20240611),
}
"""Keys with lists: the check of a value, and the value where the key is left out."""

SINGLE: dict[str, tuple[Callable[[str, Any], Any], Any]] = {
    "repeats": (_whole(1), REPEATS),
    "timeout": (_seconds, TIMEOUT),
}
"""Keys with one value for all cases."""

_NEEDED = {key for key, (_, default) in AXES.items() if default is None}
_EXAMPLE = {"n": "n: [1e4, 1e5]", "distribution": "distribution: [cube, sphere]", "eps": "eps: [1e-3, 1e-6]"}
