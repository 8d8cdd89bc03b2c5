"""The frame loop of inference: decode with memory, consult the CME, remember (paper Sec. 3.4, Sec. 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from samwise.encoders.recompute import run
from samwise.encoders.sam2_backbone import ABSENT_LOGIT
from samwise.encoders.sam2_features import Decoded, DecoderProgress, FrameFeatures
from samwise.encoders.tokens import Tokens
from samwise.errors import UserError
from samwise.modeling.conditional_memory_encoder import consultable, fuse_masks, never_consulted
from samwise.modeling.memories.confirmation import confirm
from samwise.modeling.memories.policies import build_memory
from samwise.modeling.memory import Moment, StreamState
from samwise.modeling.outputs import ClipOutput, ClipTrack, SeenClips, StreamStep

if TYPE_CHECKING:
    from samwise.config.network import SamwiseConfig
    from samwise.encoders.sam2_backbone import Sam2Backbone
    from samwise.inference.cuda_graphs import Recorded
    from samwise.modeling.conditional_memory_encoder import ConditionalMemoryEncoder


class Streaming(nn.Module):
    """What ``samwise.modeling.samwise.Samwise`` does with a stream of clips.

    Attributes:
        static_shapes: Whether memory attention sees a full memory from the second frame on, with a mask, so
            that compiled code meets one shape. The results are the same.
        branchless: Whether every frame that the CME may look at is decoded with and without memory in one
            batch, so that its decision never leaves the device: the host doesn't wait for a GPU. False
            decodes without memory only where it is asked for. None: true on a GPU. The results are the same.
        recorded: ``see``, ``encode`` and ``step`` as CUDA graphs (samwise/inference/cuda_graphs.py).
    """

    config: SamwiseConfig
    backbone: Sam2Backbone
    cme: ConditionalMemoryEncoder | None
    recompute: bool
    static_shapes: bool = False
    recorded: Recorded | None = None
    branchless: bool | None = None

    if TYPE_CHECKING:  # Samwise's own, which these call

        def see(self, frames: Tensor) -> SeenClips: ...

        def encode(
            self, seen: SeenClips, tokens: Tokens, video_of: Tensor | None = None, text: Tensor | None = None
        ) -> tuple[FrameFeatures, Tensor]: ...

        def start_text(self, tokens: Tokens) -> Tensor: ...

    def stream(
        self, frames: Tensor | SeenClips, tokens: Tokens, state: StreamState | None = None
    ) -> tuple[ClipOutput, StreamState]:
        """Segments the next clip of a stream, as ``Samwise.forward``, and tells more of it.

        Args:
            frames: (B or 1, T, 3, h, w) normalised, or what ``Samwise.see`` made of them, for expressions
                that don't run together.
            tokens: B sentences.
            state: What the previous clip returned; None at the start of a video. It is not changed.

        Raises:
            UserError: The state is of another number of sentences.
        """
        seen = frames if isinstance(frames, SeenClips) else self.see_recorded(frames)
        length, batch = seen.frames, len(tokens)
        if state is not None and len(state.last_fired) != batch:
            raise UserError(
                f"the state is of {len(state.last_fired)} sentences, and these are {batch}: a stream goes on "
                "with the sentences it began with"
            )
        state = self.start_stream(batch, seen.stage.device) if state is None else state.copy()
        if state.text is None or state.tokens is not tokens:
            state.tokens, state.text = tokens, self.start_text(tokens)
        features, rho = (self.recorded or self).encode(seen, tokens, None, state.text)
        prompt = self.backbone.sparse_prompt(rho)  # B, 2+p, C
        wants_candidate = state.bank.wants_candidate
        track = self._track_clip(features, length, prompt, state)
        if wants_candidate:
            alone = self.start_stream(batch, seen.stage.device)
            alone.best = None if state.best is None else [Moment() for _ in state.best]
            track = confirm(track, state, self._track_clip(features, length, prompt, alone), alone)
        return ClipOutput(*track, size=seen.size, canvas=self.config.canvas), state

    def _track_clip(
        self, features: FrameFeatures, length: int, prompt: Tensor, state: StreamState
    ) -> ClipTrack:
        """The T frames one after the other; they enter the memory."""
        rows = [self.segment_frame(features.at(t, length), prompt, state) for t in range(length)]
        return ClipTrack(*(torch.stack(column, 1) for column in zip(*rows, strict=True)))

    def start_stream(self, batch: int, device: torch.device) -> StreamState:
        """The state of ``batch`` sentences that have seen no frame."""
        return StreamState.start(build_memory(self.config.memory), batch, device)

    def see_recorded(self, frames: Tensor) -> SeenClips:
        """``see``, as a CUDA graph where there is one."""
        return (self.recorded or self).see(frames)

    def segment_frame(self, frame: FrameFeatures, prompt: Tensor, state: StreamState) -> tuple[Tensor, ...]:
        """A frame's row of ``ClipOutput``; the frame enters the memory."""
        config, bank = self.config.cme, state.bank
        looks = consultable(state.frame_index, state.last_fired, config)
        consulted = not never_consulted(state.frame_index, config)
        memory = bank.filled() if self.static_shapes else bank.stacked()
        result = ((bank.full and self.recorded) or self).step(frame, prompt, looks, consulted, *memory)
        bank.remember(result)
        if consulted:
            state.last_fired = state.last_fired.masked_fill(result.fires, state.frame_index)
        state.frame_index += 1
        state.note_best(result.score)
        return result.low_res_logits, result.score, looks, result.fires, result.probability

    def step(
        self, frame: FrameFeatures, prompt: Tensor, looks: Tensor, consulted: bool, *memory: Any
    ) -> StreamStep:
        """A frame of B sentences: tracked, compared with what it shows alone, encoded for the memory.

        Args:
            frame: Its features.
            prompt: (B, n, C).
            looks: (B,) bool, where the CME's policy looks at this frame.
            consulted: Whether it may look at all.
            *memory: ``MemoryBank.stacked`` or ``filled``; nothing at the start.
        """
        branchless = frame.top.is_cuda if self.branchless is None else self.branchless
        if branchless and consulted:
            tracked, memoryless = self._decode_both(frame, prompt, memory)
        else:
            tracked, memoryless = self.track_recomputed(frame, prompt, *memory), None
        low = self.present(tracked)  # B, S/4, S/4
        mask = self.backbone.to_canvas(low)  # B, S, S: P_m
        fires, probability = looks, torch.full_like(tracked.score, float("nan"))
        if consulted:
            fires, probability, mask = self._consult_cme(frame, prompt, tracked, mask, looks, memoryless)
        memory_map = self.encode_memory(frame, mask, tracked)
        return StreamStep(low, tracked.score, fires, probability, memory_map, tracked.pointer)

    def track(self, frame: FrameFeatures, prompt: Tensor, *memory: Any) -> Decoded:
        """Eq. 7: mask and token of the object tracked so far, by the memory that is given, or none."""
        top, backbone = frame.top, self.backbone
        features = backbone.with_memory(top, *memory) if memory else backbone.without_memory(top)
        return backbone.finish_decoding(backbone.start_decoding(features, prompt), frame)

    def track_recomputed(self, frame: FrameFeatures, prompt: Tensor, *memory: Any) -> Decoded:
        """``track``; the backward pass computes it again where ``recompute`` says so."""
        return run(self.recompute, self.track, frame, prompt, *memory)

    @torch.no_grad()
    def memoryless(self, frame: FrameFeatures, prompt: Tensor) -> Decoded:
        """Eq. 8: what the frame alone shows, and the memory-less token."""
        return self.track(frame, prompt)

    def _decode_both(
        self, frame: FrameFeatures, prompt: Tensor, memory: tuple[Any, ...]
    ) -> tuple[Decoded, Decoded]:
        """Eq. 7 and 8 in one batch of 2 B."""
        features = self.backbone.with_memory(frame.top, *memory)
        alone = self.backbone.without_memory(frame.top)
        features = torch.cat([features, alone.to(features.dtype)])  # 2 B, C, H, W
        progress = self.backbone.start_decoding(features, prompt.repeat(2, 1, 1))
        return self.backbone.finish_decoding(progress, frame.repeated(2)).halves()

    def present(self, decoded: Decoded) -> Tensor:
        """(B, S/4, S/4) float32 logits, ABSENT_LOGIT everywhere in frames whose score isn't positive."""
        absent = ~(decoded.score > 0)[:, None, None]  # also where it is NaN
        return decoded.low_res_logits.float().masked_fill(absent, ABSENT_LOGIT)

    def _consult_cme(
        self,
        frame: FrameFeatures,
        prompt: Tensor,
        tracked: Decoded,
        mask: Tensor,
        looks: Tensor,
        memoryless: Decoded | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decides for each expression whether the memory-less mask goes into the memory (Eq. 9 and 10).

        Where the frame isn't decoded without memory yet (``memoryless``), it is only where the CME asks for
        it. ``mask`` is P_m. Returns: fired and p_detect (B,), and the mask (B, S, S) for the memory encoder.
        """
        config, backbone = self.config.cme, self.backbone
        probability = torch.full_like(tracked.score, float("nan"))
        alone: Decoded | DecoderProgress | None = memoryless
        if alone is None:
            if not bool(looks.any()):
                return looks, probability, mask
            alone = backbone.start_decoding(backbone.without_memory(frame.top), prompt)
        fires = looks
        if self.cme is not None and config.policy == "learned":
            decision = self.cme(tracked.pointer, alone.early_token)  # B, 2
            fires = looks & (decision.argmax(1) == 1)
            probability = decision.softmax(1)[:, 1].to(probability.dtype).masked_fill(~looks, float("nan"))
        if isinstance(alone, DecoderProgress):
            if not bool(fires.any()):
                return fires, probability, mask
            alone = backbone.finish_decoding(alone, frame)
        candidate = backbone.to_canvas(self.present(alone))  # B, S, S: P_l
        mask = torch.where(fires[:, None, None], fuse_masks(mask, candidate, config), mask)
        return fires, probability, mask

    def encode_memory(self, frame: FrameFeatures, mask: Tensor, tracked: Decoded) -> Tensor:
        """(B, Cm, H, W): the frame and its (B, S, S) mask logits as a memory map."""
        return run(self.recompute, self.backbone.encode_memory, frame.top, mask, tracked.score)
