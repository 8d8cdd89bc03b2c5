"""Training batches: clips with their tokenized sentences, made in the data loader's workers."""

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
    """The input of one part of a step.

    Attributes:
        clips: B expressions on their clips.
        tokens: The B sentences.
    """

    clips: ClipBatch
    tokens: Tokens

    def to(self, device: str | torch.device) -> TrainingBatch:
        return TrainingBatch(self.clips.to(device), self.tokens.to(device, non_blocking=True))

    def pin_memory(self) -> TrainingBatch:
        """Page-locks the batch for the data loader, so that copies to a GPU overlap with computation."""
        return TrainingBatch(self.clips.pin_memory(), self.tokens.pin_memory())


class BatchMaker:
    """Makes a network's batches in the data loader's workers, so that the training process only uploads them.

    Pickling takes the tokenizer along, but not the network.
    """

    def __init__(self, model: Samwise) -> None:
        self.canvas, self.tokenizer = model.canvas, model.tokenizer

    def __call__(self, samples: Sequence[ClipSample]) -> TrainingBatch:
        """Pads and stacks clips, tokenizes their sentences and marks the verbs.

        Sentences too long for the text encoder are cut; ``check_expressions`` has warned about them.
        """
        clips = collate_clips(samples, self.canvas)
        sentences = [cut(self.tokenizer, text) for text in clips.texts]
        return TrainingBatch(clips, self.tokenizer(sentences))
