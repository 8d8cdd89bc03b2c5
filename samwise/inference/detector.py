"""Boxes from a sentence in one image: Grounding DINO through transformers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from samwise.encoders.part_files import loading
from samwise.errors import UserError
from samwise.extras import untyped


class GroundedDetector:
    """A text-grounded detector.

    Args:
        name: A local folder or a name on the hub, e.g. ``IDEA-Research/grounding-dino-base``.
        threshold: Smallest score of a box, in [0, 1].
        max_boxes: Most boxes of a sentence, the best first; None for all.
        device: Where it runs.

    Raises:
        UserError: It can't be loaded, or isn't a Grounding DINO.
    """

    def __init__(self, name: str, threshold: float, max_boxes: int | None, device: torch.device) -> None:
        way_out = "; give the folder of a Grounding DINO in transformers' form, or its name on the hub"
        with loading(f"system.detector={name}", way_out):
            self.processor = untyped("transformers").AutoProcessor.from_pretrained(name)
            network = untyped("transformers").GroundingDinoForObjectDetection
            model, info = network.from_pretrained(name, output_loading_info=True)
        if missing := sorted(info["missing_keys"]):  # transformers only warns, and takes random numbers
            raise UserError(
                f"system.detector={name} lacks the weights {', '.join(missing[:3])}: it isn't a whole "
                "Grounding DINO; fetch it again"
            )
        self.model = model.to(device).eval()
        self.device, self.threshold, self.max_boxes = device, threshold, max_boxes

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, texts: Sequence[str]) -> list[np.ndarray]:
        """Finds what sentences name.

        Args:
            image: (H, W, 3) uint8 RGB.
            texts: N sentences.

        Returns:
            N arrays (n, 4) of x0, y0, x1, y1 in pixels within the image, the best score first; n may be 0.
        """
        return [self._find(image, text) for text in texts]

    def _find(self, image: np.ndarray, text: str) -> np.ndarray:
        height, width = image.shape[:2]
        inputs = self.processor(images=image, text=_prompt(text), return_tensors="pt", truncation=True).to(
            self.device
        )
        found = self.processor.post_process_grounded_object_detection(
            self.model(**inputs),
            inputs["input_ids"],
            self.threshold,  # by place: its name has changed in transformers
            target_sizes=[(height, width)],
        )[0]
        best = found["scores"].argsort(descending=True, stable=True)[: self.max_boxes]
        boxes = found["boxes"][best].float().cpu().numpy()  # n, 4
        return boxes.clip(0, np.array([width, height, width, height], np.float32))


def _prompt(text: str) -> str:
    """Lower case and one full stop at the end, as Grounding DINO was trained; inside, they part phrases."""
    return " ".join(text.lower().replace(".", " ").split()) + "."
