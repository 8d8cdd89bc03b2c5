"""What looks like an accident in the released training: a switch for each, all off by default.

``recipe=released`` turns them all on, ``recipe=clean`` none; ``recipe.KEY=true`` turns on a single one.
samwise/training/README.md compares the paper, the released code and this project line by line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from samwise.config.typed import typed


@dataclass
class RecipeConfig:
    """The ``recipe`` group.

    Attributes:
        name: ``clean`` or ``released``, for the record.
        frozen_dropout: The frozen text encoder and SAM 2's memory attention train with their dropout on, so
            their features differ from those of inference.
        padding_attended: VTA attends to the padding of a batch's shorter sentences as well, so a sentence's
            result depends on its neighbours.
        stretched_loss: Masks are padded to a multiple of 32 pixels, and the prediction is stretched to that
            size instead of padded, so the two don't line up.
        corner_masks: Masks are shrunk by reading each new pixel's upper left corner (``nearest``) instead of
            its centre, which moves them by up to half a pixel.
        frame_repeats: The global sampler (MeViS) may draw a frame twice: always at a video's start, and in
            7 to 23 % of the clips elsewhere.
        start_may_miss: The local sampler (Ref-YouTube-VOS) leaves out the start frame in half of the clips.
        tested_images: RefCOCO, RefCOCO+ and RefCOCOg train on all of their training images, though many are
            in a validation or test split of one of the others.
        released_case: Sentences of videos are lower-cased for training whatever ``model.lowercase`` says;
            those of images are left as written.
    """

    name: str = "clean"
    frozen_dropout: bool = False
    padding_attended: bool = False
    stretched_loss: bool = False
    corner_masks: bool = False
    frame_repeats: bool = False
    start_may_miss: bool = False
    tested_images: bool = False
    released_case: bool = False

    @classmethod
    def from_node(cls, node: Any) -> RecipeConfig:
        """Builds it from the ``recipe`` node of a config; None gives the defaults.

        Raises:
            UserError: A key is unknown or a value has the wrong type.
        """
        return typed(cls, node, "recipe")
