# SPDX-License-Identifier: Apache-2.0
"""A package whose modules are imported without what its `__init__` imports beside them."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType


def without_init(name: str) -> None:
    """Let a package's modules be imported without its `__init__`, which runs when something of it is asked for.

    Does nothing where the package has been imported already.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = module_from_spec(spec)
    package.__class__ = _LazyPackage
    sys.modules[name] = package


class _LazyPackage(ModuleType):
    """A package that runs its `__init__` when it is asked for a name that it lacks."""

    __spec__: ModuleSpec

    def __getattr__(self, name: str) -> object:
        self.__class__ = ModuleType  # type: ignore[assignment]  # mypy knows of subclasses only
        assert self.__spec__.loader
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)
