"""Modules that are loaded when something of them is first used: every import is somebody's cold start."""

import importlib
from types import ModuleType
from typing import Any


class _OnUse(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(importlib.import_module(self.__name__), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(importlib.import_module(self.__name__), name)


def load_on_use(package: str, *names: str) -> None:
    """Have ``from package import name`` give modules that are loaded when they are first used.

    ``from package.name import something`` loads the module at once, as ever.
    """
    parent = importlib.import_module(package)
    for name in names:
        if not hasattr(parent, name):
            setattr(parent, name, _OnUse(f"{package}.{name}"))
