"""A module that answers ``import NAME`` in place of a package of that name, until it is taken away again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class StandIn:
    """Modules in ``sys.modules`` under the names of others, from now on; those that were there come back at the end.

    Names that a program has already imported from the other package stay what they were: make it first.

    Parameters
    ----------
    name : str
        Of the package.
    contents : mapping
        What its module has.
    submodules : mapping
        Of modules within it, by their names, what each has.

    Examples
    --------
    >>> from taskfmm.interop.stand_in import StandIn
    >>> with StandIn("a_package_of_yours", {"answer": 42}):
    ...     import a_package_of_yours
    >>> a_package_of_yours.answer
    42
    """

    def __init__(
        self,
        name: str,
        contents: Mapping[str, Any],
        submodules: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._ours = {name: _module(name, contents)}
        for each, own in (submodules or {}).items():
            module = self._ours[f"{name}.{each}"] = _module(f"{name}.{each}", own)
            setattr(self._ours[name], each, module)
        self._before = {each: sys.modules[each] for each in list(sys.modules) if each.split(".")[0] == name}
        for each in self._before:
            del sys.modules[each]
        sys.modules.update(self._ours)

    def uninstall(self) -> None:
        """Put back what was there. Doing so twice does nothing."""
        ours = [name for name, module in self._ours.items() if sys.modules.get(name) is module]
        for name in ours:
            del sys.modules[name]
        if ours:
            sys.modules.update(self._before)

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *error: Any) -> None:
        self.uninstall()


def _module(name: str, contents: Mapping[str, Any]) -> ModuleType:
    module = ModuleType(name, f"{name}, computed by taskfmm.")
    module.__spec__ = ModuleSpec(name, None)  # for who looks whether the package is there
    vars(module).update(contents)
    return module
