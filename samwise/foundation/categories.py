"""Object categories for the image encoder to learn from, alongside segmentation.

SAM 2's Hiera was pretrained on natural images, so its features tell objects apart by their looks. Masks alone
don't teach that: trained on them only, a small encoder's features tell colours apart but not shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from samwise.errors import UserError
from samwise.foundation.clips import on_canvas
from samwise.video.images import read_frames


class LabelledObjects(NamedTuple):
    """N images with K objects altogether.

    Attributes:
        images: (N, 3, S, S) float32, normalised, zero-padded to the canvas.
        masks: (K, S, S) bool.
        image_of: (K,) long, the index of each object's image.
        labels: (K,) long, the index of each object's category.
    """

    images: Tensor
    masks: Tensor
    image_of: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> LabelledObjects:
        return LabelledObjects(*(x.to(device) for x in self))


class CategoryImages(Dataset):
    """Images in COCO's form: ``<root>/refcoco/instances.json`` beside ``<root>/train2014``.

    Args:
        root: The folder.
        canvas: Side S of the canvas.
        seed: Seeds the mirroring.

    Attributes:
        categories: Names of the categories, in the order of their labels.

    Raises:
        UserError: The annotations are missing.
    """

    def __init__(self, root: str | Path, canvas: int, seed: int = 0) -> None:
        from pycocotools.coco import COCO

        self.folder, self.canvas, self.seed = Path(root) / "train2014", canvas, seed
        file = Path(root) / "refcoco/instances.json"
        if not file.is_file():
            raise UserError(
                f"{file} doesn't exist: make images with `python tools/make_synthetic.py images=6000 "
                f"root={Path(root).parent}`, or name COCO's folder in categories.images.root"
            )
        with redirect_stdout(StringIO()):
            self.coco = COCO(str(file))
        self.images = [k for k in sorted(self.coco.imgs) if self.coco.getAnnIds(k, iscrowd=False)]
        self.categories = [x["name"] for x in self.coco.loadCats(sorted(self.coco.cats))]
        self._label = {k: i for i, k in enumerate(sorted(self.coco.cats))}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> LabelledObjects:
        """Image ``index`` with its objects, mirrored half of the time; indices past the end wrap around."""
        number = self.images[index % len(self)]
        objects = self.coco.loadAnns(self.coco.getAnnIds(number, iscrowd=False))
        masks = torch.from_numpy(np.stack([self.coco.annToMask(x) for x in objects])).bool()  # K, H, W
        frame = read_frames([self.folder / self.coco.imgs[number]["file_name"]])
        mirrored = np.random.default_rng([self.seed, index]).random() < 0.5
        image, masks = on_canvas(frame, masks, self.canvas, bool(mirrored))
        labels = torch.tensor([self._label[x["category_id"]] for x in objects])
        return LabelledObjects(image, masks, torch.zeros(len(masks)).long(), labels)


def collate_labelled(items: Sequence[LabelledObjects]) -> LabelledObjects:
    """Joins single images into a batch."""
    images, masks, _, labels = (torch.cat(x) for x in zip(*items, strict=True))
    image_of = torch.cat([torch.full_like(item.labels, n) for n, item in enumerate(items)])
    return LabelledObjects(images, masks, image_of, labels)


class CategoryHead(nn.Module):
    """Predicts categories from each adapted stage's features, averaged over an object's mask.

    Args:
        widths: Channels of the stages.
        categories: Number of categories.
    """

    def __init__(self, widths: Sequence[int], categories: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.linears = nn.ModuleList(nn.Linear(width, categories) for width in widths)

    def forward(self, stages: Sequence[Tensor], objects: LabelledObjects) -> tuple[Tensor, Tensor]:
        """Loss and accuracy.

        Args:
            stages: (N, C, h, w) from each of S stages.
            objects: The N images' objects.

        Returns:
            The mean cross-entropy over the stages, and each stage's accuracy, (S,) in [0, 1].
        """
        losses, right = [], []
        for norm, linear, x in zip(self.norms, self.linears, stages, strict=True):
            area = F.interpolate(objects.masks[:, None].float(), x.shape[-2:], mode="area")  # K, 1, h, w
            weight = area.sum((2, 3)).clamp(min=1e-6)  # K, 1; clamped for objects that vanish at this size
            pooled = (x[objects.image_of] * area).sum((2, 3)) / weight  # K, C
            logits = linear(norm(pooled))
            losses.append(F.cross_entropy(logits, objects.labels))
            right.append((logits.argmax(1) == objects.labels).float().mean())
        return torch.stack(losses).mean(), torch.stack(right)
