"""SAM 2 from the installed sam2 package: its YAML, its published weights, its own predictors for clicks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from samwise.config.parts import BackboneConfig
from samwise.encoders.part_files import load_strictly, locate, only_for_object_scores, read_part
from samwise.encoders.pickled import load_pickled
from samwise.errors import UserError
from samwise.extras import needed_for

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base
    from sam2.sam2_image_predictor import SAM2ImagePredictor
    from sam2.sam2_video_predictor import SAM2VideoPredictor

# What sam2's own builders add to the YAML for clicks, unless a preset says otherwise; SAMWISE's decoding has
# no multi-mask fallback.
_FOR_CLICKS: dict[str, Any] = {
    "sam_mask_decoder_extra_args.dynamic_multimask_via_stability": True,
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_delta": 0.05,
    "sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh": 0.98,
}
_FOR_VIDEO_CLICKS: dict[str, Any] = {
    **_FOR_CLICKS,
    "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
    "binarize_mask_from_pts_for_mem_enc": True,
    "fill_hole_area": 8,
}


def build_sam2(config: BackboneConfig, canvas: int, object_scores: bool = True) -> SAM2Base:
    """Builds sam2's own ``SAM2Base`` from its own YAML; for the arguments see ``Sam2Backbone``.

    Raises:
        UserError: The YAML or the checkpoint is missing, or the checkpoint is for another network.
    """
    network = _instantiate(config, canvas, {})
    _fuse_norms(network)
    if config.checkpoint:
        load_weights(network, config.checkpoint, object_scores)
    return network


def build_image_predictor(sam2: nn.Module, config: BackboneConfig, canvas: int) -> SAM2ImagePredictor:
    """sam2's image predictor, as its own builder makes it, sharing the weights of ``sam2``."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(_sharing(sam2, _instantiate(config, canvas, _FOR_CLICKS)))
    sides = [canvas // stride for stride in (4, 8, 16)]
    predictor._bb_feat_sizes = [(side, side) for side in sides]  # it assumes a canvas of 1024
    return predictor


def build_video_predictor(sam2: nn.Module, config: BackboneConfig, canvas: int) -> SAM2VideoPredictor:
    """sam2's video predictor, as its own builder makes it, sharing the weights of ``sam2``."""
    return _sharing(sam2, _instantiate(config, canvas, _FOR_VIDEO_CLICKS))


def build_trainable(
    sam2: nn.Module, config: BackboneConfig, canvas: int, prompts: Mapping[str, Any]
) -> nn.Module:
    """sam2's own training network, which draws prompts from true masks, sharing the weights of ``sam2``.

    ``prompts`` are arguments of ``training.model.sam2.SAM2Train``.
    """
    with needed_for("training SAM 2", "foundation"):
        import tensordict  # noqa: F401
    changes = {**prompts, "_target_": "training.model.sam2.SAM2Train"}
    network = _sharing(sam2, _instantiate(config, canvas, changes))
    return network.requires_grad_(True).train()


def set_prompts(network: nn.Module, prompts: Mapping[str, Any]) -> None:
    """Changes arguments of a network from ``build_trainable``, which keeps each under its own name."""
    for name, value in prompts.items():
        if not hasattr(network, name):
            raise UserError(
                f"segmentation: sam2's SAM2Train has no '{name}'; see training/model/sam2.py of sam2"
            )
        setattr(network, name, value)


def build_training_loss(weights: Mapping[str, float]) -> nn.Module:
    """sam2's own losses: focal, Dice, IoU and object score, over all frames and correction steps."""
    import_sam2()  # makes its training code importable
    from training.loss_fns import MultiStepMultiMasksAndIous

    return MultiStepMultiMasksAndIous(
        dict(weights),
        supervise_all_iou=True,
        iou_use_l1_loss=True,
        pred_obj_scores=True,
        focal_gamma_obj_score=0.0,
        focal_alpha_obj_score=-1,
    )


def _sharing(sam2: nn.Module, other: nn.Module) -> Any:
    """``other``, with the very weights of ``sam2``."""
    other.load_state_dict(sam2.state_dict(), strict=True, assign=True)
    return other.requires_grad_(False).eval()


def import_sam2() -> None:
    """Imports sam2 and leaves Hydra's global state as it was: sam2 initialises it, and a program's own
    ``hydra.initialize()`` would then fail."""
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().hydra
    import sam2  # noqa: F401

    GlobalHydra.instance().hydra = before


def _instantiate(config: BackboneConfig, canvas: int, changes: Mapping[str, Any]) -> Any:
    import_sam2()
    from hydra.utils import instantiate

    path = Path(str(files("sam2") / config.config))
    if not path.is_file():
        raise UserError(
            f"model.backbone.config={config.config} isn't in the sam2 package; the files there are "
            f"{sorted(p.name for p in path.parent.parent.glob('*/*.yaml'))}"
        )
    node = OmegaConf.load(path).model
    side = canvas // 16
    overrides = {
        "image_size": canvas,
        "memory_attention.layer.self_attention.feat_sizes": [side, side],
        "memory_attention.layer.cross_attention.feat_sizes": [side, side],
        **changes,
        **config.overrides,
    }
    for key, value in overrides.items():
        OmegaConf.update(node, key, value, force_add=True)
    with cuda_hidden():
        return instantiate(node)


@contextmanager
def cuda_hidden() -> Iterator[None]:
    """Context in which torch sees no GPU: sam2's constructors would put tables of positions on the current
    one, even for a network on the CPU, the meta device or another process's GPU."""
    with mock.patch.object(torch.cuda, "is_available", return_value=False):
        yield


class ChannelNorm(nn.LayerNorm):
    """sam2's ``LayerNorm2d`` over the channels of (B, C, H, W), in one kernel instead of ten."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _fuse_norms(network: nn.Module) -> None:
    """Replaces sam2's ``LayerNorm2d`` with ``ChannelNorm``; the weights' names stay."""
    from sam2.modeling.sam2_utils import LayerNorm2d

    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is LayerNorm2d:
                fused = ChannelNorm(child.weight.shape, child.eps)
                fused.weight, fused.bias = child.weight, child.bias
                setattr(parent, name, fused)


def load_weights(network: nn.Module, path: str, object_scores: bool = True) -> None:
    """Loads SAM 2's published weights (``{"model": ...}``) or a frozen file of ours, strictly.

    Nothing in the file is executed. Without object scores, what only they need may be missing, as in the file
    of a released image pretraining; it is then 0.

    Raises:
        UserError: The file is missing, or is for another network.
    """
    path = locate(path)
    if not Path(path).is_file():
        raise UserError(
            f"model.backbone.checkpoint={path} doesn't exist; checkpoints/README.md says where SAM 2's "
            "weights come from"
        )
    if path.endswith(".safetensors"):
        state = read_part(path, "backbone", "sam2")
    else:
        state = load_pickled(path)
        state = state.get("model", state)
    own = network.state_dict()
    if lacking := {name: torch.zeros_like(own[name]) for name in own.keys() - state.keys()}:
        if object_scores and all(map(only_for_object_scores, lacking)):
            raise UserError(
                f"{path} comes from an image pretraining and lacks what object scores need: name SAM 2's own "
                "file in model.backbone.checkpoint, or set model.object_scores=false"
            )
        if not object_scores:
            state = {**state, **{name: x for name, x in lacking.items() if only_for_object_scores(name)}}
    load_strictly(network, state, path, "model.backbone")
