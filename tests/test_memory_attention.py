"""Memory attention: sam2's numbers, and nothing from tokens that only fill the shape."""

from __future__ import annotations

import pytest
import torch

from samwise.config.composing import compose_model
from samwise.config.parts import MemoryConfig
from samwise.encoders.sam2_backbone import Sam2Backbone
from samwise.modeling.memory import MemoryBank


@pytest.mark.parametrize("yaml", ["configs/sam2/sam2_hiera_b+.yaml", "configs/sam2.1/sam2.1_hiera_b+.yaml"])
@pytest.mark.parametrize("frames", [1, 3, 6])
def test_memory_attention_is_sam2s(yaml: str, frames: int) -> None:
    """Our pass through sam2's memory attention layers against the module's own."""
    torch.manual_seed(0)
    config = compose_model("tiny_scratch", [f"model.backbone.config={yaml}"])
    backbone = Sam2Backbone(config.backbone, 128).eval()
    torch.nn.init.normal_(backbone.sam2.maskmem_tpos_enc)
    top, maps = torch.randn(2, 128, 8, 8), torch.randn(2, frames, 64, 8, 8)
    pointers = torch.randn(2, 2 * frames, 128)
    memory, memory_position = backbone._memory_tokens(maps, pointers)
    current = top.flatten(2).permute(2, 0, 1)  # HW, B, C
    position = backbone.sam2.image_encoder.neck.position_encoding(top).flatten(2).permute(2, 0, 1)
    with torch.inference_mode():
        expected = backbone.sam2.memory_attention(
            curr=current,
            curr_pos=position,
            memory=memory.transpose(0, 1),
            memory_pos=memory_position.expand_as(memory).transpose(0, 1),
            num_obj_ptr_tokens=memory.shape[1] - frames * 64,
        )
        got = backbone.with_memory(top, maps, pointers)
    torch.testing.assert_close(got.flatten(2).permute(2, 0, 1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seen", [1, 4, 9])
def test_filling_the_memory_changes_nothing(seen: int) -> None:
    torch.manual_seed(0)
    backbone = Sam2Backbone(compose_model("tiny_scratch").backbone, 128).eval()
    bank = MemoryBank(MemoryConfig(frames=6, pointers=7))
    for _ in range(seen):
        bank.add(torch.randn(2, 64, 8, 8), torch.randn(2, 128))
    top = torch.randn(2, 128, 8, 8)
    maps, pointers, *absent = bank.filled()
    assert maps.shape[1] == 6 and pointers.shape[1] == 7 and (not absent) == (seen >= 7)
    with torch.inference_mode():
        torch.testing.assert_close(
            backbone.with_memory(top, *bank.filled()),
            backbone.with_memory(top, *bank.stacked()),
            rtol=0,
            atol=1e-5,
        )
