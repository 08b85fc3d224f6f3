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
    submodules : names of modules within it, which have the same

    Examples
    --------
    >>> from taskfmm.interop.stand_in import StandIn
    >>> with StandIn("a_package_of_yours", {"answer": 42}):
    ...     import a_package_of_yours
    >>> a_package_of_yours.answer
    42
    """

    def __init__(self, name: str, contents: Mapping[str, Any], submodules: tuple[str, ...] = ()) -> None:
        self.module = ModuleType(name, f"{name}, computed by taskfmm.")
        self.module.__spec__ = ModuleSpec(name, None)  # for who looks whether the package is there
        self.module.__dict__.update(contents)
        names = [name, *(f"{name}.{each}" for each in submodules)]
        self._before = {each: sys.modules[each] for each in names if each in sys.modules}
        for each in submodules:
            setattr(self.module, each, self.module)
        self._names = names
        sys.modules.update(dict.fromkeys(names, self.module))

    def uninstall(self) -> None:
        """Put back what was there. Doing so twice does nothing."""
        for name in self._names:
            if sys.modules.get(name) is self.module:
                del sys.modules[name]
                if name in self._before:
                    sys.modules[name] = self._before[name]

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *error: Any) -> None:
        self.uninstall()
