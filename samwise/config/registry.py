"""Other people's text encoders, adapters and datasets, by name in a config: ``configs/README.md``.

A module registers what it has with a decorator, and ``extensions: [my_package.my_module]`` in a config (or an
``import`` in a program) has it read. What is registered is known by its name, like what comes with the
package; a checkpoint holds the name only, so loading one never imports anything.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from samwise.errors import UserError

T = TypeVar("T", bound=Callable[..., Any])


class Registry:
    """Names that a key of the config can have, and what they stand for.

    Args:
        key: The key.
        builtin: Names that the package itself registers, once the module that has them is imported.
    """

    def __init__(self, key: str, *builtin: str) -> None:
        self.key = key
        self._known: dict[str, Callable[..., Any] | None] = dict.fromkeys(builtin)

    def register(self, name: str) -> Callable[[T], T]:
        """Decorates a class or function that ``name`` is to stand for.

        Raises:
            UserError: The name stands for something else.
        """

        def keep(thing: T) -> T:
            before = self._known.get(name)
            if before is not None and before.__qualname__ != thing.__qualname__:  # else read a second time
                raise UserError(
                    f"{self.key}={name} is {before.__module__}.{before.__qualname__} already; register "
                    f"{thing.__module__}.{thing.__qualname__} under another name"
                )
            self._known[name] = thing
            return thing

        return keep

    def check(self, name: str) -> None:
        """Refuses unknown names.

        Raises:
            UserError: With those there are.
        """
        if name not in self._known:
            raise UserError(
                f"{self.key}={name}: choose {', '.join(self._known)}; or name the module that registers it "
                "in extensions=[...] (configs/README.md)"
            )

    def find(self, name: str) -> Callable[..., Any]:
        """What the name stands for.

        Raises:
            UserError: There is no such name.
        """
        self.check(name)
        found = self._known[name]
        assert found is not None, f"{self.key}={name} is registered by a module that isn't imported"
        return found


# (TextEncoderConfig) -> StagedTextEncoder
TEXT_ENCODERS = Registry("model.text_encoder.family", "roberta", "bert", "clip")
# (vision width, text width, patch size, AdapterConfig) -> a module called as CMTAdapter is
ADAPTERS = Registry("model.adapter.kind", "cmt")
# (the data node, root folder, split) -> VideoStorage
FORMATS = Registry("data.format", "mevis", "ytvos", "davis", "refcoco")


def load_extensions(modules: Iterable[str]) -> None:
    """Imports the modules of the config's ``extensions``; those in the working folder are found as well.

    Raises:
        UserError: A module can't be imported.
    """
    modules = list(modules)
    if modules and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: nothing there hides what is installed
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(
                f"extensions: {module} can't be imported ({error}); name a module that is installed or "
                "in the folder you start from, e.g. extensions=[mine.encoder] for mine/encoder.py"
            ) from error
