"""The paper's modules against figures of the published implementation, each alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samwise.config.parts import AdapterConfig, CmeConfig
from samwise.modeling.cmt_adapter import CMTAdapter
from samwise.modeling.conditional_memory_encoder import (
    ConditionalMemoryEncoder,
    cme_labels,
    consultable,
    fuse_masks,
)
from samwise.modeling.losses import SamwiseLoss, cme_loss, dice_loss, focal_loss
from samwise.training.step import ClipStep
from samwise.weights.released_names import PREFIXES, our_name, released_names
from samwise.weights.seeded import seeded_tensor

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def units() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "units.npz") as arrays:
        return dict(arrays)


def fill_seeded(module: nn.Module, prefix: str, released_names: list[str]) -> None:
    """Fills a module by the recipe, from released names without their prefix."""
    state = module.state_dict()
    for released in released_names:
        ours = our_name(prefix + released).split(".", 2 if "adapters" in prefix else 1)[-1]
        if ours in state:
            state[ours] = seeded_tensor(
                released, (1, 1, 1, *state[ours].shape) if "spatial" in ours else state[ours].shape
            ).reshape(state[ours].shape)
    assert len(released_names) >= len(state)
    module.load_state_dict(state)


ADAPTER_NAMES = [
    "spatial_pos_embed", "proj_text_down.0.weight", "proj_text_up.0.weight", "hsa.linear.weight",
    "hsa.linear.bias",
    "norm_pre_HSA.weight", "norm_pre_HSA.bias",
    *(f"{side}.{leaf}" for side in ("proj_vis_down", "proj_vis_up") for leaf in (
        "0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")),
    *(f"{name}.{leaf}" for name in ("ca_V2T.multihead_attn", "ca_T2V.multihead_attn", "hsa.self_attn")
      for leaf in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")),
]  # fmt: skip
CME_NAMES = [
    "decision_token.weight", "decision_class_head.weight", "decision_class_head.bias",
    *(f"transformerBlock.{leaf}" for leaf in (
        "self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight",
        "self_attn.out_proj.bias")),
    *(f"transformerBlock.{m}.{leaf}" for m in ("linear1", "linear2", "norm1", "norm2", "norm3")
      for leaf in ("weight", "bias")),
]  # fmt: skip


def seeded_adapter(name: str, cfg: list[int]) -> CMTAdapter:
    config = AdapterConfig(dim=16, heads=8, hsa=name != "plain", dropout=0.0)
    adapter = CMTAdapter(24, 20, cfg[5], config)
    fill_seeded(adapter, "cmt_adapters.0.", ADAPTER_NAMES)
    return adapter


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", ["hsa2", "hsa4", "plain"])
def test_cmt_adapter(units: dict[str, np.ndarray], name: str, mode: str) -> None:
    cfg = units[f"{name}_cfg"].tolist()  # B, T, H, W, L, patch
    adapter = seeded_adapter(name, cfg).train(mode == "train")
    visual, text = torch.from_numpy(units[f"{name}_vis_in"]), torch.from_numpy(units[f"{name}_txt_in"])
    with torch.no_grad():
        more_visual, more_text = adapter(visual, text.transpose(0, 1), None, cfg[1])
    np.testing.assert_allclose(more_visual.numpy(), units[f"{name}_{mode}_vis_out"], atol=2e-5)
    np.testing.assert_allclose(more_text.transpose(0, 1).numpy(), units[f"{name}_{mode}_txt_out"], atol=2e-5)


def test_conditional_memory_encoder(units: dict[str, np.ndarray]) -> None:
    cme = ConditionalMemoryEncoder(32).eval()
    fill_seeded(cme, "conditional_memory_encoder.", CME_NAMES)
    with torch.no_grad():
        logits = cme(torch.from_numpy(units["cme_a"]), torch.from_numpy(units["cme_b"]))
    np.testing.assert_allclose(logits.numpy(), units["cme_logits"], atol=2e-5)


def test_cme_labels() -> None:
    with np.load(FIXTURES / "cme_labels.npz") as golden:
        labels = cme_labels(*(torch.from_numpy(golden[key]) for key in ("tracked", "memoryless", "score")))
        np.testing.assert_array_equal(labels.numpy(), golden["label"])


def _mask(pixels: int, offset: int = 0) -> Tensor:
    mask = torch.full((1, 1000), -1.0)
    mask[0, offset : offset + pixels] = 1.0
    return mask.view(1, 10, 100)


@pytest.mark.parametrize(
    ("tracked", "memoryless", "score", "label"),
    [
        (_mask(50), _mask(50, 500), 1.0, -1),  # both areas at most 50 pixels
        (_mask(51), _mask(50, 500), 1.0, 1),  # one larger
        (_mask(100), _mask(200, 90), 1.0, 0),  # overlap exactly a tenth of the smaller: not below
        (_mask(100), _mask(200, 91), 1.0, 1),
        (_mask(100), _mask(0), 1.0, 0),  # exactly one empty
        (_mask(100), _mask(100, 500), 0.0, 1),  # a score of 0 counts
        (_mask(100), _mask(100, 500), -0.01, -1),
    ],
)
def test_cme_label_boundaries(tracked: Tensor, memoryless: Tensor, score: float, label: int) -> None:
    assert cme_labels(tracked, memoryless, torch.tensor([score])).item() == label


@pytest.mark.parametrize(
    ("tracked", "memoryless", "scores", "label"),
    [
        (_mask(50), _mask(100), (1.0, 1.0), 1),  # the frame alone shows what memory doesn't
        (_mask(100), _mask(100), (-0.1, 1.0), 1),  # memory says that it is away
        (_mask(100), _mask(100), (0.0, 1.0), 1),  # as does a score of 0, where the mask is dropped
        (_mask(100), _mask(100), (0.1, 1.0), 0),
        (_mask(100), _mask(0), (1.0, 1.0), 0),  # the reverse says nothing new
        (_mask(100), _mask(50), (-0.1, 1.0), 0),
        (_mask(0), _mask(50), (1.0, 1.0), -1),
        (_mask(0), _mask(100), (1.0, -0.1), -1),
    ],
)
def test_cme_labels_of_what_memory_misses(
    tracked: Tensor, memoryless: Tensor, scores: tuple[float, float], label: int
) -> None:
    """``model.cme.appearing``; scores with memory and without."""
    with_memory, without = map(torch.tensor, scores)
    assert cme_labels(tracked, memoryless, without, with_memory).item() == label


@pytest.mark.parametrize("weight", [2.0, 8.0])
def test_cme_loss_is_pytorchs_weighted_mean(weight: float) -> None:
    """Of the function and of the step, whose weight is ``loss.cme_different``; 2 by default."""
    decisions, labels = torch.randn(2, 3, 2), torch.tensor([[0, 1, -1], [1, 1, 0]])
    expected = nn.functional.cross_entropy(
        decisions.flatten(0, 1), labels.flatten(), torch.tensor([1.0, weight]), ignore_index=-1
    )
    torch.testing.assert_close(cme_loss(decisions, labels, *([] if weight == 2.0 else [weight])), expected)
    loss = SamwiseLoss(**({} if weight == 2.0 else {"cme_different": weight}))
    torch.testing.assert_close(ClipStep(nn.Identity(), loss)._cme([(decisions, labels)]), expected)
    assert cme_loss(decisions, torch.full((2, 3), -1)).item() == 0.0
    assert cme_loss(decisions[:, :0], labels[:, :0]).item() == 0.0


def test_fusion() -> None:
    tracked, memoryless = torch.tensor([[[2.0, -3.0]]]), torch.tensor([[[-1.0, 4.0]]])
    fuse = lambda fusion: fuse_masks(tracked, memoryless, CmeConfig(fusion=fusion, lam=10.0)).tolist()  # noqa: E731
    assert fuse("reweight") == [[[2.0, 40.0]]]
    assert fuse("replace") == [[[-1.0, 4.0]]]
    assert fuse("average") == [[[0.5, 0.5]]]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("never", []),
        ("always", list(range(1, 14))),
        ("every", [4, 8, 12]),
        ("learned", [5, 8, 11]),  # fires whenever consulted
    ],
)
def test_policies(policy: str, expected: list[int]) -> None:
    config, last, consulted = CmeConfig(policy=policy), torch.zeros(1, dtype=torch.long), []
    for frame in range(14):
        if consultable(frame, last, config).item():
            consulted.append(frame)
            last[0] = frame
    assert consulted == expected


def test_losses_on_known_values() -> None:
    logits, targets, valid = torch.zeros(1, 4), torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1, 4)
    # p = 1/2: entropy ln 2, (1 - p_t)^2 = 1/4, mean weight (0.25 + 3 * 0.75) / 4
    assert focal_loss(logits, targets, valid).item() == pytest.approx(np.log(2) / 4 * 0.625)
    assert dice_loss(logits, targets, valid).item() == pytest.approx(1 - (2 * 0.5 + 1) / (2 + 1 + 1))


def test_padded_pixels_do_not_count() -> None:
    logits, targets = torch.randn(2, 6), torch.randint(0, 2, (2, 6)).float()
    valid = torch.tensor([[1.0, 1, 1, 1, 0, 0]] * 2)
    for loss in (focal_loss, dice_loss):
        alone = loss(logits[:, :4], targets[:, :4], torch.ones(2, 4))
        torch.testing.assert_close(loss(logits, targets, valid), alone)


def test_every_rename_is_used() -> None:
    import json

    layout = json.loads((FIXTURES / "golden_tiny" / "layout.json").read_text())
    for name in layout:  # every name has its way back
        assert (ours := our_name(name)) is None or name in released_names(ours)
    used = {re.sub(r"\d+", "{}", name) for name in layout}
    for released, _ in PREFIXES:
        assert any(name.startswith(re.sub(r"\d+", "{}", released)) for name in used), released
