"""The networks that visitors choose from: found, loaded at the start, and held until the page ends."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from samwise.errors import UserError
from samwise.inference.predictor import SamwisePredictor
from samwise.modeling.samwise import Samwise
from samwise.web.config import WebConfig
from samwise.weights.finding import find_checkpoint
from samwise.weights.zoo import ZooEntry, zoo

DEFAULT = "default"  # the small bundled one, by its name in the zoo
_SMALL = (
    "It knows plain shapes (circles, stars, hearts, ...), their colours, patterns, places and motions: no "
    "people, no animals."
)


@dataclass(frozen=True)
class Model:
    """A network that a visitor may choose.

    Attributes:
        name: What the page calls it; it says nothing of the server's folders.
        about: What it is, in a line of Markdown.
        predictor: It, on its device.
    """

    name: str
    about: str
    predictor: SamwisePredictor

    @property
    def warning(self) -> str | None:
        return self.predictor.warning


class Models:
    """The networks of a page. What a request names is looked up in this list and nowhere else.

    Args:
        models: At least one, with names of their own; the first is the one that a page begins with.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = {model.name: model for model in models}
        self.names = list(self._models)

    @property
    def first(self) -> Model:
        return self._models[self.names[0]]

    @property
    def several(self) -> bool:
        """Whether there is a choice at all."""
        return len(self.names) > 1

    def find(self, name: object) -> Model:
        """The network of a name that came in; None is the first.

        Raises:
            UserError: It isn't on offer.
        """
        if name is None:
            return self.first
        if not isinstance(name, str) or name not in self._models:
            raise UserError("this page doesn't have that model; load the page anew and choose one of its own")
        return self._models[name]


def load_models(config: WebConfig) -> Models:
    """Finds all checkpoints of a config, then loads them all.

    Each stays in memory, so that visitors with different choices don't wait for one another. Frozen parts
    whose values are all the same are held once.

    Raises:
        UserError: There is no such checkpoint, one is named twice, or the memory isn't enough for all.
    """
    wanted = config.checkpoints
    known = {name: entry for name, entry in zoo().items() if not Path(name).exists()}  # as find_checkpoint
    files: dict[str | None, Path] = {}
    for name in sorted(wanted, key=known.__contains__):  # a mistyped path shows before anything is fetched
        file = find_checkpoint(name)
        if file.resolve() in {other.resolve() for other in files.values()}:
            raise UserError(f"checkpoint: {name or DEFAULT} is there twice; name each model once")
        files[name] = file
    models: list[Model] = []
    for name, short in zip(wanted, _short([x or DEFAULT for x in wanted], known), strict=True):
        try:
            predictor = SamwisePredictor.from_pretrained(files[name], config.device, config.runtime)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise UserError(
                f"the memory isn't enough for {short} beside {len(models)} other models; name fewer in "
                "checkpoint=[...]"
            ) from error
        _share_frozen(predictor.model, [model.predictor.model for model in models])
        models.append(Model(short, _describe(short, predictor, known.get(name or DEFAULT)), predictor))
    return Models(models)


def _describe(name: str, predictor: SamwisePredictor, entry: ZooEntry | None) -> str:
    """What a network is, in a line of Markdown: of the zoo's what it is for, of others their encoders."""
    if name == DEFAULT and predictor.warning:
        return f"The model is the **small default**. {_SMALL}"
    config = predictor.model.config
    text, sam = Path(config.text_encoder.name).name, Path(config.backbone.config).stem
    if entry is not None and entry.purpose:
        sam, text = entry.sam2 or sam, entry.text_encoder or text
        return f"The model is `{name}` ({sam} and {text}): {entry.purpose}."
    return f"The model is `{name}` ({sam} and {text}). It knows what it was trained on."


def _short(names: Sequence[str], known: Collection[str]) -> list[str]:
    """Names for visitors: of a path its end, as much of it as tells it from the others."""
    paths = {name: Path(name).resolve() if Path(name).exists() else Path(name) for name in names}
    for count in range(1, 1 + max(len(path.parts) for path in paths.values())):
        ends = [name if name in known else "/".join(paths[name].parts[-count:]) for name in names]
        short = [re.sub(r"[^\w./+-]", "_", end) for end in ends]
        if len({*short}) == len(short):
            return short
    return [str(index) for index, _ in enumerate(names, 1)]  # they differ in nothing that can be shown


def _share_frozen(model: Samwise, earlier: Sequence[Samwise]) -> None:
    """Puts an earlier network's tensors in the place of those of a frozen part that are the same in all."""
    for part in model.config.frozen_parts:
        own = getattr(model, part).state_dict(keep_vars=True)
        for other in earlier:
            theirs = getattr(other, part).state_dict(keep_vars=True)
            frozen = part in other.config.frozen_parts and own.keys() == theirs.keys()
            if frozen and all(_same(own[name], theirs[name]) for name in own):
                for name, tensor in own.items():
                    tensor.data = theirs[name].data
                break


def _same(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.dtype == two.dtype and one.device == two.device and torch.equal(one, two)
