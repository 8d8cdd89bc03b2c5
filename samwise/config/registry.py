"""What a config can name: presets made of two groups, and other people's text encoders, adapters, datasets.

A module registers what it has with a decorator, and ``extensions: [my_package.my_module]`` in a config (or an
``import`` in a program) loads it; see ``configs/README.md``. A checkpoint holds only the registered name, so
loading one never imports anything.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, TypeVar

from samwise.errors import UserError

T = TypeVar("T", bound=Callable[..., Any])


def nearest(wanted: str, known: Sequence[str]) -> str:
    """The end of a sentence that refuses a name: the names that may have been meant."""
    close = difflib.get_close_matches(wanted.lower(), known, 2)
    return f"; did you mean {' or '.join(close)}?" if close else f"; choose one of {', '.join(known)}"


class Registry:
    """The names that a key of the config can have, and what they stand for.

    Args:
        key: The key.
        builtin: Names that the package itself registers once their module is imported.
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
            if before is not None and before.__qualname__ != thing.__qualname__:  # else read twice
                raise UserError(
                    f"{self.key}={name} is {before.__module__}.{before.__qualname__} already; register "
                    f"{thing.__module__}.{thing.__qualname__} under another name"
                )
            self._known[name] = thing
            return thing

        return keep

    def names(self) -> list[str]:
        """All names, the package's own first."""
        return list(self._known)

    def check(self, name: str) -> None:
        """Refuses unknown names.

        Raises:
            UserError: The message has those there are.
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
# (vision width, text width, patch size, AdapterConfig) -> a module that is called like CMTAdapter
ADAPTERS = Registry("model.adapter.kind", "cmt")
# (MemoryConfig) -> MemoryBank
MEMORY_POLICIES = Registry("model.memory.policy", "recent", "stride", "present", "anchored", "confirmed")
# (the data node, root folder, split) -> VideoStorage
FORMATS = Registry("data.format", "mevis", "ytvos", "davis", "refcoco")


# Presets without a file: the paper's main model with another text encoder (prefix, file) and backbone.
_SIZES = ("hiera_t", "hiera_s", "hiera_b+", "hiera_l")
_COMBINED = {
    ("roberta", "roberta_base"): (*_SIZES, *(f"sam2.1_{size}" for size in _SIZES)),
    ("roberta_large", "roberta_large"): ("hiera_l",),
    ("clip", "clip_b16"): _SIZES,
    ("clip_b32", "clip_b32"): ("hiera_b+",),
    ("clip_l14", "clip_l14"): ("hiera_l",),
    ("minilm", "minilm"): ("hiera_t",),
}
MAIN_MODEL = "roberta_hiera_b+"
# name -> (file of configs/backbone, file of configs/text_encoder)
PRESETS = {
    f"{prefix}_{backbone}": (backbone, text_encoder)
    for (prefix, text_encoder), backbones in _COMBINED.items()
    for backbone in backbones
}


@cache  # Hydra keeps them
def store_presets() -> None:
    """Tells Hydra about ``PRESETS``, so that ``model=NAME`` finds them as if each were a file."""
    from hydra.core.config_store import ConfigStore

    for name, (backbone, text_encoder) in PRESETS.items():
        if name == MAIN_MODEL:
            continue
        parts = [{"override /backbone": backbone}, {"override /text_encoder": text_encoder}]
        node = {"defaults": [MAIN_MODEL, *parts, "_self_"], "model": {"name": name}}
        ConfigStore.instance().store(name=name, node=node, group="model", package="_global_")


def load_extensions(modules: Iterable[str]) -> None:
    """Imports the modules of the config's ``extensions``, from the working folder too.

    Raises:
        UserError: A module can't be imported.
    """
    modules = list(modules)
    if modules and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so nothing there hides an installed package
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(
                f"extensions: {module} can't be imported ({error}); name a module that is installed or "
                "in the folder you start from, e.g. extensions=[mine.encoder] for mine/encoder.py"
            ) from error
