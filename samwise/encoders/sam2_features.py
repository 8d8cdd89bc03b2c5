"""What SAM 2's steps hand to each other: features of frames, and a decoder's progress and answer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class FrameFeatures:
    """What the decoder and the memory need from N frames.

    Attributes:
        stride4: (N, C/8, S/4, S/4), projected by the decoder's ``conv_s0``; one clip of T for all
            expressions, (T, C/8, S/4, S/4), if they share it.
        stride8: (N, C/4, S/8, S/8), projected by ``conv_s1``; shared likewise if no adapter changes it.
        top: (N, C, S/16, S/16), the paper's memory-less features F.
    """

    stride4: Tensor
    stride8: Tensor
    top: Tensor

    def at(self, frame: int, frames: int) -> FrameFeatures:
        """Frame ``frame`` of every clip, if the N frames are clips of ``frames`` one after another."""
        every = slice(frame, None, frames)
        return FrameFeatures(self.stride4[every], self.stride8[every], self.top[every])

    def of(self, expression: int) -> FrameFeatures:
        """What one of B expressions needs of a frame, (1, ...)."""
        one = slice(expression, expression + 1)
        stride4, stride8 = (x[one] if len(x) > 1 else x for x in (self.stride4, self.stride8))
        return FrameFeatures(stride4, stride8, self.top[one])

    def repeated(self, count: int) -> FrameFeatures:
        """The same frames ``count`` times over."""
        stride4, stride8 = (
            x.repeat(count, 1, 1, 1) if len(x) > 1 else x for x in (self.stride4, self.stride8)
        )
        return FrameFeatures(stride4, stride8, self.top)


@dataclass
class DecoderProgress:
    """The two-way transformer after its first layer."""

    tokens: Tensor  # B, n, C: the tokens as they went in, which are also their positional encoding
    queries: Tensor  # B, n, C
    keys: Tensor  # B, HW, C
    image_position: Tensor  # 1, HW, C
    early_token: Tensor  # B, C: mask token 0 now; tau_l of Eq. 8 when the features are memory-less


@dataclass
class Decoded:
    """The decoder's answer for B frames.

    Attributes:
        low_res_logits: (B, S/4, S/4) mask logits, not gated by the object score.
        pointer: (B, C) object pointer, gated by the object score; tau_m of Eq. 7.
        score: (B,) object score logit; 10 if object scores are off.
        early_token: (B, C) mask token 0 after the first layer.
    """

    low_res_logits: Tensor
    pointer: Tensor
    score: Tensor
    early_token: Tensor

    def halves(self) -> tuple[Decoded, Decoded]:
        """A batch of 2 B as two of B."""
        fields = (self.low_res_logits, self.pointer, self.score, self.early_token)
        first, second = zip(*(x.chunk(2) for x in fields), strict=True)
        return Decoded(*first), Decoded(*second)
