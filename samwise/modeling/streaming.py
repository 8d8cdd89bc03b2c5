"""The frame loop of inference: decode with memory, consult the CME, remember (paper Sec. 3.4 and 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from samwise.errors import UserError
from samwise.modeling.conditional_memory_encoder import consultable, fuse_masks, never_consulted
from samwise.modeling.memory import StreamState
from samwise.modeling.observer import FrameTrace, Observer
from samwise.modeling.outputs import ClipOutput, SeenClips
from samwise.modeling.recompute import run
from samwise.modeling.sam2_backbone import ABSENT_LOGIT, Decoded, FrameFeatures
from samwise.modeling.tokens import Tokens

if TYPE_CHECKING:
    from samwise.config import SamwiseConfig
    from samwise.modeling.conditional_memory_encoder import ConditionalMemoryEncoder
    from samwise.modeling.sam2_backbone import Sam2Backbone


class Streaming:
    """What :class:`samwise.modeling.samwise.Samwise` does with a stream of clips.

    Attributes:
        static_shapes: Whether memory attention sees a full memory from the second frame on, with a mask, so
            that compiled code meets one shape. The results are the same.
        branchless: Whether every frame that the CME may look at is decoded with and without memory in one
            batch, so that its decision never leaves the device: the host doesn't wait for a GPU. False
            decodes without memory only where it is asked for. None: true on a GPU. The results are the same.
        observer: Is shown what happens inside, for pictures; None, which costs nothing, for nobody.
    """

    config: SamwiseConfig
    backbone: Sam2Backbone
    cme: ConditionalMemoryEncoder | None
    recompute: bool
    static_shapes: bool = False
    branchless: bool | None = None
    observer: Observer | None = None

    def stream(
        self, frames: Tensor | SeenClips, tokens: Tokens, state: StreamState | None = None
    ) -> tuple[ClipOutput, StreamState]:
        """Segments the next clip of a stream, as :meth:`Samwise.forward`, and tells more of it.

        Args:
            frames: (B or 1, T, 3, h, w) normalised, or what :meth:`Samwise.see` made of them, for expressions
                that don't run together.
            tokens: B sentences.
            state: What the previous clip returned; None at the start of a video. It is not changed.

        Raises:
            UserError: The state is of another number of sentences.
        """
        seen = frames if isinstance(frames, SeenClips) else self.see(frames)
        length, batch = seen.frames, len(tokens)
        if state is not None and len(state.last_fired) != batch:
            raise UserError(
                f"the state is of {len(state.last_fired)} sentences, and these are {batch}: a stream goes on "
                "with the sentences it began with"
            )
        memory = self.config.memory
        state = (
            StreamState.start(batch, memory.frames, memory.pointers, seen.stage.device)
            if state is None
            else state.copy()
        )
        state.text = (
            self.start_text(tokens) if state.text is None or state.tokens is not tokens else state.text
        )
        state.tokens = tokens
        features, rho = self.encode(seen, tokens, text=state.text)
        prompt = self.backbone.sparse_prompt(rho)
        rows = [self._segment(features.at(t, length), prompt, state) for t in range(length)]
        columns = (torch.stack(column, 1) for column in zip(*rows, strict=True))
        return ClipOutput(*columns, size=seen.size, canvas=self.config.canvas), state

    def _segment(self, frame: FrameFeatures, prompt: Tensor, state: StreamState) -> tuple[Tensor, ...]:
        """A frame's row of :class:`ClipOutput`; the frame enters the memory."""
        branchless = frame.top.is_cuda if self.branchless is None else self.branchless
        memoryless = None
        if branchless and not never_consulted(state.frame_index, self.config.cme):
            tracked, memoryless = self._decode_both(frame, prompt, state)
        else:
            tracked = self._decode_with_memory(frame, prompt, state)
        low = self._present(tracked)  # B, S/4, S/4
        mask = self.backbone.to_canvas(low)  # P_m
        looks, fires, probability, for_memory = self._consult_cme(
            frame, prompt, tracked, mask, state, memoryless
        )
        if self.observer is not None:
            self._show(frame, prompt, tracked, mask, looks, fires, state)
        self._remember(frame, for_memory, tracked, state)
        return low, tracked.score, looks, fires, probability

    def _decode_with_memory(self, frame: FrameFeatures, prompt: Tensor, state: StreamState) -> Decoded:
        """Eq. 7: the mask and the token of the object tracked so far."""
        return run(self.recompute, self.track, frame, prompt, *self._memory(state))

    def _memory(self, state: StreamState) -> tuple[Tensor | None, ...]:
        bank = state.bank
        return () if bank.empty else bank.filled() if self.static_shapes else bank.stacked()

    def track(self, frame: FrameFeatures, prompt: Tensor, *memory: Tensor | None) -> Decoded:
        """Eq. 7 with the memory that is given (``MemoryBank.stacked`` or ``filled``), or none."""
        features = (
            self.backbone.with_memory(frame.top, *memory)
            if memory
            else self.backbone.without_memory(frame.top)
        )
        return self.backbone.finish_decoding(self.backbone.start_decoding(features, prompt), frame)

    def _decode_both(
        self, frame: FrameFeatures, prompt: Tensor, state: StreamState
    ) -> tuple[Decoded, Decoded]:
        """Eq. 7 and 8 in one batch of 2 B."""
        features = self.backbone.with_memory(frame.top, *self._memory(state))
        alone = self.backbone.without_memory(frame.top)
        both = self.track_features(
            torch.cat([features, alone.to(features.dtype)]), prompt.repeat(2, 1, 1), frame
        )
        return both.halves()

    def track_features(self, features: Tensor, prompt: Tensor, frame: FrameFeatures) -> Decoded:
        """The decoder on (n*B, C, H, W) features of the same B frames."""
        count = len(features) // len(frame.top)
        return self.backbone.finish_decoding(
            self.backbone.start_decoding(features, prompt), frame.repeated(count)
        )

    def _present(self, decoded: Decoded) -> Tensor:
        """(B, S/4, S/4) float32 logits, ABSENT_LOGIT everywhere in frames whose score isn't positive."""
        absent = ~(decoded.score > 0)[:, None, None]  # also where it is NaN
        return decoded.low_res_logits.float().masked_fill(absent, ABSENT_LOGIT)

    def _consult_cme(
        self,
        frame: FrameFeatures,
        prompt: Tensor,
        tracked: Decoded,
        mask: Tensor,
        state: StreamState,
        memoryless: Decoded | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decides for each expression whether the memory-less mask goes into the memory (Eq. 9 and 10).

        Args:
            frame: The frame.
            prompt: Of B sentences.
            tracked: It, decoded with memory.
            mask: (B, S, S) P_m.
            state: Of the stream; the frames of its last firings are renewed.
            memoryless: The frame decoded without memory, where that is done already: nothing waits then for
                what the CME says. None: it is done where the CME asks for it.

        Returns:
            Consulted, fired, p_detect (B,) each, and the mask (B, S, S) for the memory encoder.
        """
        config, index = self.config.cme, state.frame_index
        looks = consultable(index, state.last_fired, config)
        nothing = torch.full_like(tracked.score, float("nan"))
        if never_consulted(index, config) or (memoryless is None and not bool(looks.any())):
            return looks, looks, nothing, mask
        progress = None
        if memoryless is None:
            progress = self.backbone.start_decoding(self.backbone.without_memory(frame.top), prompt)
        fires, probability = looks, nothing
        if config.policy == "learned":
            early = memoryless.early_token if progress is None else progress.early_token
            decision = self.cme(tracked.pointer, early)
            fires = looks & (decision.argmax(1) == 1)
            probability = decision.softmax(1)[:, 1].to(nothing.dtype).masked_fill(~looks, float("nan"))
        if progress is not None:
            if not bool(fires.any()):
                return looks, fires, probability, mask
            memoryless = self.backbone.finish_decoding(progress, frame)
        candidate = self.backbone.to_canvas(self._present(memoryless))  # P_l
        mask = torch.where(fires[:, None, None], fuse_masks(mask, candidate, config), mask)
        state.last_fired = state.last_fired.masked_fill(fires, index)
        return looks, fires, probability, mask

    def _remember(self, frame: FrameFeatures, mask: Tensor, tracked: Decoded, state: StreamState) -> None:
        memory = run(self.recompute, self.backbone.encode_memory, frame.top, mask, tracked.score)
        state.bank.add(memory, tracked.pointer)
        state.frame_index += 1

    def _show(
        self,
        frame: FrameFeatures,
        prompt: Tensor,
        tracked: Decoded,
        mask: Tensor,
        looks: Tensor,
        fires: Tensor,
        state: StreamState,
    ) -> None:
        """Shows the observer a frame, with what the CME would have said of it."""
        memoryless = self.memoryless(frame, prompt)
        asked = torch.full_like(tracked.score, float("nan"))
        if self.cme is not None:
            asked = self.cme(tracked.pointer, memoryless.early_token).softmax(1)[:, 1]
        candidate = self.backbone.to_canvas(self._present(memoryless))
        self.observer.saw_frame(FrameTrace(state.frame_index, mask, candidate, asked, looks, fires))

    @torch.no_grad()
    def memoryless(self, frame: FrameFeatures, prompt: Tensor) -> Decoded:
        """Eq. 8: what the frame alone shows, and the memory-less token."""
        progress = self.backbone.start_decoding(self.backbone.without_memory(frame.top), prompt)
        return self.backbone.finish_decoding(progress, frame)
