"""Losses: focal and Dice on the masks, cross-entropy on the CME's decisions (paper Sec. 3.5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samwise.modeling.conditional_memory_encoder import IGNORED
from samwise.modeling.outputs import TrainOutput

_GRID = 32  # pixels, of which the released training's loss has a multiple


def focal_loss(
    logits: Tensor, targets: Tensor, valid: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss, mean over all pixels of a clip together, then over clips.

    Args:
        logits: (B, N) mask logits of all pixels of a clip.
        targets: (B, N) in {0, 1}, float.
        valid: (B, N) in {0, 1}, float: pixels that count.
        alpha: Weight of the positive class.
        gamma: Focusing exponent.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    correct = probability * targets + (1 - probability) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    loss = weight * entropy * (1 - correct) ** gamma
    return ((loss * valid).sum(1) / valid.sum(1)).mean()


def dice_loss(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Dice loss 1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1), arguments as in ``focal_loss``."""
    probability = logits.sigmoid() * valid
    targets = targets * valid
    overlap = 2 * (probability * targets).sum(1)
    return (1 - (overlap + 1) / (probability.sum(1) + targets.sum(1) + 1)).mean()


def cme_weights(labels: Tensor, different_weight: float = 2.0) -> Tensor:
    """(...) float32 weights of pairs in the CME loss: 1 for "same", more for "different", 0 for "ignored"."""
    weights = torch.where(labels == 1, different_weight, 1.0)
    return weights.masked_fill(labels == IGNORED, 0.0)


def cme_loss(
    decisions: Tensor, labels: Tensor, different_weight: float = 2.0, total: Tensor | None = None
) -> Tensor:
    """Cross-entropy over the pairs that have a label, PyTorch's weighted mean; 0 where none has.

    Args:
        decisions: (B, K, 2) logits.
        labels: (B, K), 1 different, 0 same, -1 ignored.
        different_weight: Weight of class 1; class 0 has 1.
        total: The weights' sum that the mean divides by, where these pairs are a part of a batch; by default
            theirs alone.
    """
    decisions, labels = decisions.flatten(0, 1).float(), labels.flatten()
    weights = cme_weights(labels, different_weight)
    # Not PyTorch's own mean: that is 0/0 where every pair is ignored.
    entropy = F.cross_entropy(decisions, labels, ignore_index=IGNORED, reduction="none")
    total = weights.sum() if total is None else total
    return (weights * entropy).sum() / total.clamp(min=1.0)


def object_score_loss(scores: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy of the object scores with whether the frame shows the target.

    Not in the paper, whose frozen SAM 2 knows from 50,000 videos when an object is there. Here the adapters
    learn what makes a small one say so.

    Args:
        scores: (B, T) logits.
        masks: (B, T, S, S) bool targets.
    """
    return F.binary_cross_entropy_with_logits(scores.float(), masks.flatten(2).any(2).float())


def stretched_grid(logits: Tensor, masks: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The grid on which the released training compares masks (``recipe.stretched_loss``).

    Masks are padded with zeros to a multiple of 32 pixels beyond the batch's largest frame. The prediction is
    cut to that frame and stretched to the padded size, so it lies up to 31 pixels beside the masks.

    Args:
        logits: (B, T, S, S) mask logits on the canvas.
        masks: (B, T, S, S) bool targets, 0 outside their frames.
        valid: (B, S, S) bool, pixels of the unpadded frames.

    Returns:
        Logits, masks and the pixels that count (all), each (B, T, h, w).
    """
    inside = valid.any(0)  # S, S
    height, width = torch.stack([inside.any(1).sum(), inside.any(0).sum()]).tolist()
    size = (-(-height // _GRID) * _GRID, -(-width // _GRID) * _GRID)
    cut = F.interpolate(logits[..., :height, :width], size=size, mode="bilinear", align_corners=False)
    masks = masks[..., : size[0], : size[1]]
    return cut, masks, torch.ones_like(masks)


class SamwiseLoss(nn.Module):
    """Focal + Dice + CME (and, if wanted, the object scores).

    Args:
        focal: Weight of the focal loss.
        dice: Weight of the Dice loss.
        cme: Weight of the CME loss.
        object_score: Weight of the object scores' loss; 0 in the paper.
        cme_different: Weight of a pair that shows two objects within the CME loss; of one object it is 1.
        stretched: Compare masks as the released training does, see ``stretched_grid``.
    """

    def __init__(
        self,
        focal: float = 1.0,
        dice: float = 1.0,
        cme: float = 1.0,
        object_score: float = 0.0,
        cme_different: float = 2.0,
        stretched: bool = False,
    ) -> None:
        super().__init__()
        self.stretched = stretched
        self.cme_different = cme_different
        self.weights = {"focal": focal, "dice": dice, "cme": cme, "object_score": object_score}

    def forward(
        self, output: TrainOutput, masks: Tensor, valid: Tensor, cme: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes each loss and their weighted sum ``loss``.

        Args:
            output: Of ``Samwise.forward_train``.
            masks: (B, T, S, S) bool targets.
            valid: (B, S, S) bool, pixels of the unpadded frame.
            cme: The CME loss where it is a mean over more than these clips; computed from them by default.
        """
        logits, counted = output.logits.float(), valid[:, None].expand_as(output.logits)
        if self.stretched:
            logits, masks, counted = stretched_grid(logits, masks, valid)
        logits = logits.flatten(1)  # B, T*S*S
        targets, counted = masks.flatten(1).to(logits.dtype), counted.flatten(1).to(logits.dtype)
        losses = {
            "focal": focal_loss(logits, targets, counted),
            "dice": dice_loss(logits, targets, counted),
            "cme": cme_loss(output.cme_logits, output.cme_labels, self.cme_different) if cme is None else cme,
        }
        if self.weights["object_score"]:
            losses["object_score"] = object_score_loss(output.object_scores, masks)
        losses["loss"] = torch.stack([self.weights[name] * value for name, value in losses.items()]).sum()
        return losses
