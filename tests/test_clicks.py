"""SAM 2 is left whole: one loaded model serves text and, through sam2's own predictors, clicks and boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from samwise.config.composing import compose_model
from samwise.inference.predictor import SamwisePredictor
from samwise.modeling.samwise import Samwise
from samwise.weights.seeded import seeded_tensor

if TYPE_CHECKING:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

CANVAS = 128
CLICK = {"point_coords": np.array([[30.0, 20.0], [50.0, 40.0]]), "point_labels": np.array([1, 0])}
BOX = {"box": np.array([10.0, 8.0, 60.0, 40.0])}
OFFICIAL = [
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
]


@pytest.fixture(scope="module")
def predictor() -> SamwisePredictor:
    """SAM 2.1 tiny at its real widths with adapters that aren't zero, on a small canvas."""
    overrides = [
        "backbone=sam2.1_hiera_t",
        f"model.canvas={CANVAS}",
        "model.adapter.patch_sizes=[4,2,1]",
        "model.object_scores=true",
    ]
    model = Samwise(compose_model("tiny_scratch", overrides))
    state = model.state_dict()
    model.load_state_dict({n: seeded_tensor(n, tuple(x.shape), str(x.dtype)) for n, x in state.items()})
    return SamwisePredictor(model, "cpu")


def official(predictor: SamwisePredictor, video: bool) -> torch.nn.Module:
    """sam2's network as sam2's own builder makes it, with a copy of the same weights."""
    import sam2  # noqa: F401  (initialises Hydra on sam2's configs)
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.utils import instantiate

    changes = [f"++model.image_size={CANVAS}", *OFFICIAL]
    for kind in ("self", "cross"):
        changes.append(f"++model.memory_attention.layer.{kind}_attention.feat_sizes=[8,8]")
    if video:
        changes += [
            "++model._target_=sam2.sam2_video_predictor.SAM2VideoPredictor",
            "++model.binarize_mask_from_pts_for_mem_enc=true",
            "++model.fill_hole_area=8",
        ]
    GlobalHydra.instance().clear()
    with initialize_config_module("sam2", version_base="1.2"):
        network = instantiate(compose("configs/sam2.1/sam2.1_hiera_t.yaml", changes).model)
    weights = {name: x.clone() for name, x in predictor.model.backbone.sam2.state_dict().items()}
    network.load_state_dict(weights, strict=True)
    return network.eval()


@pytest.fixture(scope="module")
def theirs(predictor: SamwisePredictor) -> SAM2ImagePredictor:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    found = SAM2ImagePredictor(official(predictor, video=False))
    found._bb_feat_sizes = [(32, 32), (16, 16), (8, 8)]  # it takes 1024 for granted
    return found


def picture(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((90, 64)))


@pytest.mark.parametrize("prompt", [CLICK, BOX, {**CLICK, **BOX}], ids=["click", "box", "both"])
@pytest.mark.parametrize("multimask", [True, False])
def test_image_prompts(
    predictor: SamwisePredictor, theirs: SAM2ImagePredictor, prompt: dict[str, np.ndarray], multimask: bool
) -> None:
    """Bit for bit what sam2 alone gives, before and after the model segmented by text."""
    ours = predictor.sam2_image_predictor()
    list(predictor.segment_video(picture(), ["the red circle"]))
    answers = []
    for one in (theirs, ours):
        one.set_image(picture())
        answers.append(one.predict(**prompt, multimask_output=multimask))
    for expected, found in zip(*answers, strict=True):
        assert np.array_equal(expected, found)
    assert 0 < answers[0][0].mean() < 1


def test_video_prompts(predictor: SamwisePredictor, tmp_path: Path) -> None:
    for index in range(4):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.jpg")
    answers = []
    for one in (official(predictor, video=True), predictor.sam2_video_predictor()):
        state = one.init_state(str(tmp_path))
        one.add_new_points_or_box(
            state, 0, obj_id=1, points=CLICK["point_coords"], labels=CLICK["point_labels"]
        )
        one.add_new_points_or_box(state, 0, obj_id=2, box=BOX["box"])
        answers.append([logits for _, _, logits in one.propagate_in_video(state)])
    assert len(answers[0]) == 4
    for expected, found in zip(*answers, strict=True):
        assert torch.equal(expected, found)


def test_weights_are_shared(predictor: SamwisePredictor) -> None:
    """No second copy in memory, and what trains still trains."""
    ours = dict(predictor.model.backbone.sam2.named_parameters())
    before = {name: p.requires_grad for name, p in ours.items()}
    for name, p in predictor.sam2_video_predictor().named_parameters():
        assert p.data_ptr() == ours[name].data_ptr()
    assert before == {name: p.requires_grad for name, p in ours.items()}
