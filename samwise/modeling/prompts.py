"""The contextual and the motion prompt (paper Sec. 3.2, Eq. 1)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class PromptMLP(nn.Sequential):
    """W_prompt of Eq. 1: three linear layers with ReLU between, from the text's width to SAM 2's."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__(
            nn.Linear(text_width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
        )


class TextPrompts(nn.Module):
    """Turns adapted text features into the prompts rho of SAM 2's mask decoder.

    Args:
        text_width: Width of the text features.
        width: SAM 2's width.
        motion: Whether the motion prompt is there too. It starts as a copy of the contextual one.
    """

    def __init__(self, text_width: int, width: int, motion: bool) -> None:
        super().__init__()
        self.contextual = PromptMLP(text_width, width)
        self.motion = copy.deepcopy(self.contextual) if motion else None

    def forward(self, sentence: Tensor, text: Tensor, verbs: Tensor, no_prompt: Tensor) -> Tensor:
        """Makes the prompts.

        Args:
            sentence: (B, Ct) E_C, the sentence state.
            text: (B, L, Ct) adapted tokens; the mean over the verbs' tokens is E_M.
            verbs: (B, L) bool, the tokens of the verbs.
            no_prompt: (1, C), what stands in the motion prompt's place in a sentence without a verb.

        Returns:
            (B, 1 or 2, C).
        """
        contextual = self.contextual(sentence)
        if self.motion is None:
            return contextual[:, None]
        weights = verbs.to(text.dtype)
        count = weights.sum(1, keepdim=True)
        mean = torch.einsum("bl,blc->bc", weights, text) / count.clamp(min=1)
        motion = torch.where(count > 0, self.motion(mean), no_prompt.to(mean.dtype))
        return torch.stack([contextual, motion], dim=1)
