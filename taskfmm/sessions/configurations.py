"""Scheduler configurations: Dask YAML files, found by name or path, read with care and checked before use.

What a file may hold is known from the defaults that Dask and its packages register, and from their schemas.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import dask.config
import yaml
from dask.base import named_schedulers

from taskfmm.errors import InputError
from taskfmm.runtime import settings

LARGEST_FILE = 1_000_000
LARGEST_TREE = 10_000
"""Bytes of a file, and values in it once its aliases are written out; ours have a few dozen."""

DEEPEST = 50
"""Levels of keys and lists inside each other; settings have five or so."""

SECTIONS = {"jobqueue": ("dask_jobqueue", "slurm"), "kubernetes": ("dask_kubernetes", "kubernetes")}
"""Sections that other packages know: the package, and the extra of ours that installs it."""

UNLISTED: dict[str, Any] = {"scheduler": None, "num_workers": None, "pool": None, "logging": {}}
"""What Dask looks up although neither its defaults nor its schema tell."""

UNLISTED_TYPES: dict[str, Any] = {
    "scheduler": {"enum": [*named_schedulers, "distributed", "dask.distributed", None]},
    "num_workers": {"type": ["integer", "null"], "minimum": 1},
    "pool": {"type": "null"},  # a pool is an object, which no file can hold
    "logging": {"type": "object"},
}

OPEN = {"kubernetes.scheduler-service-template", "kubernetes.scheduler-pdb-template"}
"""Kubernetes' own words, with defaults, and no schema in dask-kubernetes."""


def directory() -> Path:
    """Where the shipped configurations are: in the installed package, or at the top of a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "scheduler_configs"
    return installed if installed.is_dir() else package.parent / "scheduler_configs"


def names() -> list[str]:
    """Names of the shipped configurations."""
    return sorted(path.stem for path in directory().glob("*.yaml"))


def find(name_or_path: str | Path) -> Path:
    """The file of a shipped name, such as "threads", or a path.

    Raises
    ------
    InputError
        Neither a shipped name nor a file; the nearest name is told.
    """
    text = str(name_or_path)
    if text in names():
        return directory() / f"{text}.yaml"
    path = Path(os.path.expanduser(text))
    if path.is_file():
        return path
    raise InputError(
        f"no scheduler configuration {text!r}: {_nearest(text, names())}give the path of a YAML file or one of "
        f"{', '.join(names())}"
    )


def load(name_or_path: str | Path) -> dict[str, Any]:
    """A configuration as Dask would read it, every key and type checked.

    Raises
    ------
    InputError
        No such configuration, a file that cannot be read or is no YAML mapping, a key that nobody knows, a
        value of the wrong type, or a section whose package is not installed.

    Examples
    --------
    >>> from taskfmm.sessions.configurations import load
    >>> load("synchronous")["scheduler"]
    'synchronous'
    """
    path = find(name_or_path)
    found = read(path)
    check(found, str(path))
    return found


def check(configuration: Mapping[str, Any], where: str) -> None:
    """Raise an InputError that begins with ``where`` for the first key or value that cannot be meant."""
    import distributed  # noqa: F401  registers its defaults

    for section in configuration.keys() & SECTIONS.keys():
        package, extra = SECTIONS[section]
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"{where}: section {section!r} needs the package {package}: pip install 'taskfmm[{extra}]'"
            )
        importlib.import_module(package)
    _Keys(where).check(configuration, _known())
    _check_types(configuration, where)


def leaves(configuration: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of what a configuration sets, as `dask.config.set` takes it, so that what it does not
    mention stays."""
    for key, value in configuration.items():
        if isinstance(value, dict) and value and not any("." in str(inner) for inner in value):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def read(path: Path, example: str = "scheduler: threads") -> dict[str, Any]:
    """What a YAML file of keys and values says, whoever wrote it: nothing in it runs, and it cannot be endless.

    example : a line that such a file may hold, for the error

    Raises
    ------
    InputError
        The file cannot be read, is no YAML mapping, is too large, or has a key twice.

    Examples
    --------
    >>> read(find("synchronous"))["scheduler"]
    'synchronous'
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise InputError(f"{path} has more than {LARGEST_FILE} bytes: too many for settings")
        _refuse_deep(content, path)
        loader = yaml.SafeLoader(content)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise InputError(f"{path} is not a YAML mapping: expected keys and values, such as '{example}'")
        _size(node, {}, path)
        found: dict[str, Any] = loader.construct_document(node)
    except InputError:
        raise
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    return found


def _refuse_deep(content: bytes, path: Path) -> None:
    """Before the reader, which goes down by calls of itself, gets to the end of Python's stack."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise InputError(f"{path} has more than {DEEPEST} levels of nesting: too many for settings")


def _size(node: yaml.Node, known: dict[int, int], path: Path) -> int:
    """Values below a node with aliases written out, which a hostile file makes astronomical or endless."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = LARGEST_TREE + 1  # whoever meets it again below itself
    size = 1
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = {key for key in keys if keys.count(key) > 1} if len(keys) > len(set(keys)) else set()
        if twice:
            raise InputError(f"{path}: {', '.join(sorted(twice))} stands twice in one mapping")
        size += sum(_size(part, known, path) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_size(part, known, path) for part in node.value)
    if size > LARGEST_TREE:
        raise InputError(f"{path} holds more than {LARGEST_TREE} values: too many for settings")
    known[id(node)] = size
    return size


def _known() -> dict[str, Any]:
    """All keys: what Dask's packages registered as defaults, and what their schemas add."""
    known: dict[str, Any] = dict(UNLISTED)
    for defaults in dask.config.defaults:
        known = dask.config.merge(known, dict(defaults))
    for schema in _schemas():
        known = dask.config.update(known, _keys_of(schema), priority="old")
    return known


@cache
def _schemas() -> list[dict[str, Any]]:
    """JSON schemas of Dask, distributed and our section."""
    files = [settings.HERE / "taskfmm-schema.yaml"]
    for package in ("dask", "distributed"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.submodule_search_locations
        files.append(Path(spec.submodule_search_locations[0]) / f"{package}-schema.yaml")
    own = {"properties": UNLISTED_TYPES}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # thousands of lines: the one in C if it is there
    return [own, *(loader(file.read_bytes()).get_single_data() for file in files if file.is_file())]


def _keys_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    inner: Mapping[str, Any] = schema.get("properties") or {}
    return {key: _keys_of(value) if "properties" in value else None for key, value in inner.items()}


class _Keys:
    """Finds the first unknown key; ``where`` begins the error."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.open = OPEN | {key for schema in _schemas() for key in _open(schema)}

    def check(self, given: Mapping[Any, Any], known: Mapping[str, Any], prefix: str = "") -> None:
        for key, value in given.items():
            name = next((k for k in (key, *_spellings(key)) if k in known), None)
            if name is None:
                hint = _nearest(str(key), known, prefix)
                raise InputError(f"{self.where}: {prefix}{key} is unknown: {hint}remove or rename it")
            inner = known[name]
            if isinstance(inner, Mapping) and inner and f"{prefix}{name}" not in self.open:
                if not isinstance(value, Mapping):
                    raise InputError(
                        f"{self.where}: {prefix}{key} is {value!r}, expected a mapping of {', '.join(inner)}"
                    )
                self.check(value, inner, f"{prefix}{name}.")


def _open(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Mappings whose keys are the user's to choose, although the defaults have some."""
    inner: Mapping[str, Any] = schema.get("properties") or {}
    for key, value in inner.items():
        if value.get("type") == "object" and "properties" not in value:
            yield f"{prefix}{key}"
        yield from _open(value, f"{prefix}{key}.")


def _spellings(key: Any) -> tuple[str, str]:
    return str(key).replace("_", "-"), str(key).replace("-", "_")


def _nearest(wrong: str, known: Mapping[str, Any] | list[str], prefix: str = "") -> str:
    """ "did you mean ...?", of the keys in the same mapping or, failing that, anywhere below the top."""
    near = difflib.get_close_matches(wrong, list(known), n=1)
    return f"did you mean {prefix}{near[0]}? Else " if near else ""


def _check_types(configuration: Mapping[str, Any], where: str) -> None:
    from jsonschema import Draft7Validator

    defaults = {key: value for each in dask.config.defaults for key, value in each.items() if key in SECTIONS}
    for schema in (*_schemas(), _like(defaults)):
        for error in Draft7Validator(schema).iter_errors(_plain(configuration)):
            key = ".".join(map(str, error.absolute_path))
            raise InputError(f"{where}: {key} has a wrong value: {error.message}")


def _plain(value: Any) -> Any:
    """With the spelling that schemas use."""
    if not isinstance(value, Mapping):
        return value
    spelled = {key: next((k for k in _spellings(key) if k in UNLISTED), _spellings(key)[0]) for key in value}
    return {spelled[key]: _plain(inner) for key, inner in value.items()}


def _like(default: Any) -> dict[str, Any]:
    """A schema from a default value: what is a number stays a number, what is null may be anything."""
    if isinstance(default, Mapping):
        return {"type": "object", "properties": {key: _like(value) for key, value in default.items()}}
    kinds = {
        bool: ["boolean"],
        int: ["number"],
        float: ["number"],
        str: ["string"],
        list: ["array", "string"],
    }
    allowed = kinds.get(type(default))
    return {"type": [*allowed, "null"]} if allowed else {}
