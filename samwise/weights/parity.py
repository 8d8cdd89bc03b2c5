"""Parity: our network against the published implementation's figures on seeded weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samwise.config.network import SamwiseConfig
from samwise.encoders.tokens import Tokens
from samwise.errors import UserError
from samwise.io import read_json
from samwise.modeling.losses import cme_loss, dice_loss, focal_loss
from samwise.modeling.samwise import Samwise
from samwise.weights.released import load_released
from samwise.weights.released_names import our_name
from samwise.weights.seeded import seeded_state

LOGITS, SIGNS, POINTERS, LOSSES, GRADIENTS = 2e-3, 1e-4, 2e-3, 1e-4, 1e-3  # tolerances


@dataclass
class Check:
    """One compared figure."""

    name: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # false for NaN

    def __str__(self) -> str:
        return f"{self.name} {self.error:.3g} (at most {self.tolerance:g}){'' if self.passed else '  FAILED'}"


class TracedSamwise(Samwise):
    """Keeps the pointer and the object score of every decoder call, the memory-less ones included."""

    def __init__(self, config: SamwiseConfig) -> None:
        super().__init__(config)
        self.calls: list[tuple[Tensor, Tensor]] = []

    def step(self, frame: Any, prompt: Tensor, looks: Tensor, *more: Any) -> Any:
        result = super().step(frame, prompt, looks, *more)
        self.calls.append((result.pointer, result.score))
        if bool(looks.any()):
            memoryless = self.memoryless(frame, prompt)
            self.calls.append((memoryless.pointer, memoryless.score))
        return result


class GoldenFolder:
    """A folder of golden figures: ``meta.json``, ``layout.json``, ``inputs.npz`` and one npz for each case.

    Args:
        path: The folder.

    Raises:
        UserError: A file is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.meta: dict[str, Any] = read_json(self.path / "meta.json")
        self.layout: dict[str, Any] = read_json(self.path / "layout.json")
        self.inputs = self._load("inputs")

    def _load(self, name: str) -> dict[str, np.ndarray]:
        file = self.path / f"{name}.npz"
        if not file.is_file():
            raise UserError(
                f"{file} doesn't exist; a golden folder has one npz for each case of its meta.json"
            )
        with np.load(file) as arrays:
            return {key: arrays[key] for key in arrays}

    def model_config(self, case: dict[str, Any]) -> SamwiseConfig:
        """The configuration that ``meta.json`` and one of its cases describe."""
        meta, cme = self.meta, self.meta["cme"]
        base = meta["sam2_base_config"].split()[0]
        family = "sam2.1" if base.startswith("sam2.1") else "sam2"
        learned = bool(case["cme"])
        return SamwiseConfig.from_node(
            {
                "name": str(self.path.name),
                "canvas": meta["image_size"],
                "clip_length": meta["clip_length"],
                "object_scores": case["object_scores"],
                "backbone": {"config": f"configs/{family}/{base}", "overrides": meta["sam2_overrides"]},
                "text_encoder": {
                    "family": "roberta",
                    "name": "roberta-base",
                    "overrides": {**meta["roberta"], "type_vocab_size": 1},
                },
                "adapter": {
                    "dim": meta["adapter"]["dim"],
                    "heads": meta["adapter"]["heads"],
                    "hsa": case["hsa"],
                    "patch_sizes": meta["adapter"]["hsa_patch_sizes"],
                    "dropout": 0.0,
                },
                "cme": {
                    "enabled": learned,
                    "policy": "learned" if learned else "never",
                    "window": cme["window"],
                    "fusion": cme["fusion"],
                    "lam": cme["lambda"],
                    "dropout": 0.0,
                },
            }
        )

    def build(self, case: dict[str, Any]) -> tuple[TracedSamwise, dict[str, str]]:
        """The case's network with seeded weights, and the names left out with their reasons."""
        model = TracedSamwise(self.model_config(case))
        layout = {name: (shape, dtype) for name, (shape, dtype) in self.layout.items()}
        left_out = load_released(model, seeded_state(layout, case.get("set")))
        return model, left_out

    def frames(self) -> Tensor:
        return torch.from_numpy(self.inputs["frames"]).float()[None]  # 1, N, 3, h, w

    def check_case(self, name: str) -> tuple[list[Check], dict[str, str]]:
        """Runs an inference case in clips, one stream, and compares."""
        golden = self._load(name)
        model, left_out = self.build(self.meta["cases"][name])
        tokens = Tokens.from_ids(torch.from_numpy(self.inputs["ids"]))
        logits, fired, state = [], [], None
        with torch.inference_mode():
            for clip in self.frames().split(self.meta["clip_length"], dim=1):
                out, state = model.stream(clip, tokens, state)
                logits.append(out.logits[0])
                fired.append(out.cme_fired[0])
        found = torch.cat(logits).numpy()
        fired_frames = torch.cat(fired).nonzero()[:, 0].tolist()
        pointers = torch.cat([pointer for pointer, _ in model.calls]).numpy()
        scores = torch.cat([score for _, score in model.calls]).numpy()
        return [
            Check("logits", _largest(found, golden["logits"]), LOGITS),
            Check("signs", float(((found > 0) != (golden["logits"] > 0)).mean()), SIGNS),
            Check("pointers", _largest(pointers, golden["obj_ptr"]), POINTERS),
            Check("scores", _largest(scores, golden["score"]), POINTERS),
            Check(f"fired {fired_frames}", float(fired_frames != golden["fired"].astype(int).tolist()), 0.0),
        ], left_out

    def check_training(self) -> tuple[list[Check], dict[str, str]]:
        """Runs the training step on two clips and compares losses, labels and gradients."""
        golden = self._load("train_step")
        model, left_out = self.build(self.meta["train_step"])
        model.train()
        length = self.meta["clip_length"]
        frames = self.frames()[0, : 2 * length].unflatten(0, (2, length))  # 2, T, 3, h, w
        output = model.forward_train(frames, Tokens.from_ids(torch.from_numpy(golden["ids"])))
        height, width = frames.shape[-2:]
        logits = output.logits[:, :, :height, :width]
        flat, targets = logits.flatten(1), torch.from_numpy(golden["masks"]).float().flatten(1)
        losses = {
            "mask": focal_loss(flat, targets, torch.ones_like(flat)),
            "dice": dice_loss(flat, targets, torch.ones_like(flat)),
            "cme": cme_loss(output.cme_logits, output.cme_labels),
        }
        torch.stack(list(losses.values())).sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found = logits.detach().flatten(0, 1)[:, None].numpy()
        labels = output.cme_labels.flatten().numpy()
        running_mean = model.state_dict()["adapters.0.visual_down.1.running_mean"].numpy()
        cme_checks = []
        if model.cme is not None:
            decisions = output.cme_logits.detach().flatten(0, 1).numpy()
            wrong = float((labels != golden["cme_label"]).sum())
            cme_checks = [
                Check("CME logits", _largest(decisions, golden["cme_logits"]), LOGITS),
                Check(f"CME labels {labels.tolist()}", wrong, 0.0),
            ]
        return [
            Check("logits", _largest(found, golden["logits"]), LOGITS),
            Check("signs", float(((found > 0) != (golden["logits"] > 0)).mean()), SIGNS),
            *cme_checks,
            *(
                Check(f"loss {key}", _relative(float(value.detach()), float(golden[f"loss_{key}"])), LOSSES)
                for key, value in losses.items()
                if f"loss_{key}" in golden
            ),
            Check("BatchNorm running mean", _largest(running_mean, golden["bn_mean"]), LOSSES),
            Check("gradient norms", _largest_gradient_error(gradients, golden), GRADIENTS),
        ], left_out

    def checks(self) -> Iterator[tuple[str, list[Check], dict[str, str]]]:
        """Every case of the folder: name, figures, names left out."""
        for name in self.meta["cases"]:
            yield name, *self.check_case(name)
        if "train_step" in self.meta:
            yield "train_step", *self.check_training()


def _largest(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        return float("nan")
    return float(np.abs(found.astype(np.float64) - expected).max()) if expected.size else 0.0


def _relative(found: float, expected: float) -> float:
    return abs(found - expected) / max(abs(expected), 1e-12)


def _largest_gradient_error(gradients: dict[str, Tensor], golden: dict[str, np.ndarray]) -> float:
    """Largest relative error of a gradient norm; NaN if a parameter is missing on either side."""
    expected = {
        our_name(str(n)): float(v) for n, v in zip(golden["grad_names"], golden["grad_norms"], strict=True)
    }
    unknown = {name for name, gradient in gradients.items() if name not in expected and gradient.norm() > 0}
    if unknown or not {name for name, value in expected.items() if value > 0} <= gradients.keys():
        return float("nan")
    scale = max(expected.values())
    # Norms that are zero but for rounding are compared on the scale of the largest.
    return max(
        abs(float(gradients[name].norm()) - value) / max(value, 1e-5 * scale)
        for name, value in expected.items()
        if name in gradients
    )


def describe_left_out(left_out: dict[str, str]) -> str:
    """One line: how many names were left out, by reason."""
    reasons = {reason: sum(r == reason for r in left_out.values()) for reason in left_out.values()}
    return json.dumps(reasons)
