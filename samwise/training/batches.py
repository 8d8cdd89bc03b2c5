"""Batches as training takes them: clips and their tokenized sentences, made where data are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from samwise.data.clips import collate_clips
from samwise.data.types import ClipBatch, ClipSample
from samwise.encoders.tokens import Tokens
from samwise.inference.sentences import cut
from samwise.modeling.samwise import Samwise


@dataclass
class TrainingBatch:
    """What a part of a step is computed from.

    Attributes:
        clips: B expressions on their clips.
        tokens: The B sentences.
    """

    clips: ClipBatch
    tokens: Tokens

    def to(self, device: str | torch.device) -> TrainingBatch:
        return TrainingBatch(self.clips.to(device), self.tokens.to(device, non_blocking=True))

    def pin_memory(self) -> TrainingBatch:
        """The batch in memory from which copies to a GPU run beside the rest; the data loader calls it."""
        return TrainingBatch(self.clips.pin_memory(), self.tokens.pin_memory())


class BatchMaker:
    """Makes batches for a network in the data loader's workers: the training process only uploads them.

    Pickled, it takes along what the tokenizer is made of, and not the network.
    """

    def __init__(self, model: Samwise) -> None:
        self.canvas, self.tokenizer = model.canvas, model.tokenizer

    def __call__(self, samples: Sequence[ClipSample]) -> TrainingBatch:
        """Pads and stacks clips, tokenizes their sentences and marks the verbs.

        A sentence that is longer than the text encoder takes is cut; ``check_expressions`` has said so.
        """
        clips = collate_clips(samples, self.canvas)
        sentences = [cut(self.tokenizer, text) for text in clips.texts]
        return TrainingBatch(clips, self.tokenizer(sentences))
