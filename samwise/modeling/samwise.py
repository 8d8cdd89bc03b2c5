"""SAMWISE: SAM 2 and a text encoder, joined by CMT adapters, prompted by the sentence (paper Sec. 3)."""

from __future__ import annotations

import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samwise.config.composing import compose_model, model_names
from samwise.config.network import SamwiseConfig
from samwise.encoders.sam2_backbone import NUM_STAGES, Sam2Backbone
from samwise.encoders.sam2_features import FrameFeatures
from samwise.encoders.text_encoder import build_text_encoder
from samwise.encoders.tokens import Tokenizer, Tokens
from samwise.errors import UserError
from samwise.modeling.baselines import build_baseline
from samwise.modeling.cme_pairs import compare, partners
from samwise.modeling.cmt_adapter import build_adapter
from samwise.modeling.conditional_memory_encoder import ConditionalMemoryEncoder
from samwise.modeling.memory import MemoryBank, StreamState
from samwise.modeling.outputs import SeenClips, TrainOutput
from samwise.modeling.prompts import TextPrompts
from samwise.modeling.streaming import Streaming

logger = logging.getLogger("samwise.modeling")
TOKENS_TOGETHER = 8  # compiled and recorded code is of one shape; few lengths of sentences are few shapes
FIRST_ADAPTED_STAGE = 1  # nothing before its end depends on the text


class Samwise(Streaming):
    """The network. ``from samwise import Samwise`` has the hub's methods as well (samwise/weights/hub.py).

    Args:
        config: Sizes and choices; ``from_config`` makes it from a preset's name.

    Attributes:
        recompute: Whether the backward pass computes activations again (samwise/encoders/recompute.py).
        frozen_dropout: Whether frozen parts train with their dropout on, as in the released training.
    """

    def __init__(self, config: SamwiseConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Sam2Backbone(config.backbone, config.canvas, config.object_scores)
        self.text_encoder = build_text_encoder(config.text_encoder)
        width, text_width = self.backbone.width, self.text_encoder.width
        widths = self.backbone.stage_widths[FIRST_ADAPTED_STAGE:]
        self.adapters = nn.ModuleList(
            build_adapter(w, text_width, patch, config.adapter)
            for w, patch in zip(widths, config.adapter.patch_sizes, strict=True)
            if config.adapter.enabled
        )
        self.baseline = build_baseline(config.baseline, self.backbone, self.text_encoder)
        self.prompts = TextPrompts(text_width, width, config.prompt.motion)
        self.cme = (
            ConditionalMemoryEncoder(width, config.cme.heads, config.cme.ffn, config.cme.dropout)
            if config.cme.enabled
            else None
        )
        self.recompute = False
        self._tokenizer: Tokenizer | None = None
        self.frozen_dropout = False
        self.backbone.requires_grad_(config.backbone.trainable)
        self.text_encoder.requires_grad_(config.text_encoder.trainable)
        self.train(False)

    @classmethod
    def from_config(cls, name: str, overrides: list[str] | None = None) -> Samwise:
        """Builds a preset of ``configs/model``, e.g. ``roberta_hiera_b+``.

        Args:
            name: The preset; ``list_models`` names them.
            overrides: Hydra overrides such as ``["adapter=none", "model.cme.fusion=replace"]``.

        Raises:
            UserError: There is no such preset, or a weight file it names isn't there.
        """
        model = cls(compose_model(name, overrides))
        for part in model.config.random_parts:
            logger.warning("the %s has random weights; name its own in model.%s.checkpoint", part, part)
        return model

    @staticmethod
    def list_models() -> list[str]:
        """Names of the presets."""
        return model_names()

    @property
    def canvas(self) -> int:
        return self.config.canvas

    @property
    def clip_length(self) -> int:
        return self.config.clip_length

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]

    def train(self, mode: bool = True) -> Samwise:
        """Training mode for what trains; frozen parts stay in eval mode, unless ``frozen_dropout``."""
        super().train(mode)
        if self.frozen_dropout:
            return self
        for part in (self.backbone, self.text_encoder):
            if not any(p.requires_grad for p in part.parameters()):
                part.train(False)
        return self

    def tokenize(self, sentences: list[str]) -> Tokens:
        """Tokenizes sentences for this network, on its device.

        Raises:
            UserError: A sentence is empty or too long, or the tokenizer's files aren't there.
        """
        if isinstance(sentences, str) or not sentences:
            raise UserError("give a list of at least one sentence that says what to segment")
        few = self.static_shapes or self.recorded is not None
        return self.tokenizer(sentences, TOKENS_TOGETHER if few else 1).to(self.device)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, built when it is first asked for.

        Raises:
            UserError: Its files aren't there.
        """
        if self._tokenizer is None:
            config, longest = self.config, self.text_encoder.longest_sentence
            self._tokenizer = Tokenizer(config.text_encoder, config.prompt.motion, config.lowercase, longest)
        return self._tokenizer

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: the tokenizer, which holds functions, and CUDA graphs are made anew there."""
        return {**self.__dict__, "_tokenizer": None, "recorded": None}

    # features

    def see(self, frames: Tensor) -> SeenClips:
        """Runs the part of the image encoder that doesn't depend on the text.

        Args:
            frames: (V, T, 3, h, w) normalised, h and w at most the canvas.
        """
        clips, length, _, height, width = frames.shape
        stage = self.backbone.run_stage(0, self.backbone.embed_patches(self.pad(frames).flatten(0, 1)))
        stride4 = self.backbone.run_neck_stride4(stage)
        stage = self.backbone.run_stage(FIRST_ADAPTED_STAGE, stage)
        neck = None
        if not self.adapters:
            stages = [stage]
            for number in range(FIRST_ADAPTED_STAGE + 1, NUM_STAGES):
                stages.append(self.backbone.run_stage(number, stages[-1]))
            neck = self.backbone.run_neck(stages)
        return SeenClips(stage, stride4, length, (height, width), neck)

    def encode(
        self,
        seen: SeenClips,
        tokens: Tokens,
        video_of: Tensor | None = None,
        text: Tensor | None = None,
    ) -> tuple[FrameFeatures, Tensor]:
        """Runs both staged encoders with the adapters between (Eq. 3) and makes the prompts (Eq. 1).

        Args:
            seen: V clips of T frames.
            tokens: B sentences.
            video_of: (B,) long, which of the V clips each sentence is about. None where V is B (one clip for
                each sentence) or 1 (the same for all).
            text: What ``start_text`` made of the sentences, where that is done already.

        Returns:
            Features of the B*T frames, clip after clip, and the prompts rho (B, p, C).
        """
        clips, length, batch = seen.clips, seen.frames, len(tokens)
        if video_of is None and clips not in (1, batch):
            raise ValueError(
                f"{clips} videos for {batch} sentences: give one video, one for each sentence, or video_of"
            )

        def for_each(x: Tensor, shared: bool = False) -> Tensor:
            """(V*T, ...) -> (B*T, ...); one clip of ``shared`` features stays (T, ...)."""
            if video_of is not None:
                return x.unflatten(0, (clips, length))[video_of].flatten(0, 1)
            return x if shared or clips == batch else x.repeat(batch, 1, 1, 1)

        visual = for_each(seen.stage) if self.adapters else seen.stage  # B*T, H, W, C
        words = self.start_text(tokens) if text is None else text  # B, L, Ct
        stages = []
        for stage in range(FIRST_ADAPTED_STAGE, NUM_STAGES):
            if stage > FIRST_ADAPTED_STAGE:
                words = self.text_encoder.run_stage(stage, words, tokens)
                visual = self.backbone.run_stage(stage, visual) if self.adapters else visual
            if self.adapters:
                more_visual, more_words = self.adapters[stage - FIRST_ADAPTED_STAGE](
                    visual.permute(0, 3, 1, 2), words, tokens.padding_or_none, length
                )
                visual, words = visual + more_visual.permute(0, 2, 3, 1), words + more_words  # Eq. 3
                stages.append(visual)
        if seen.neck is None:
            stride8, top = self.backbone.run_neck(stages)
        else:
            stride8, top = for_each(seen.neck[0], shared=True), for_each(seen.neck[1])
        features = FrameFeatures(for_each(seen.stride4, shared=True), stride8, top)
        sentence = self.text_encoder.sentence_state(words, tokens)
        return features, self.prompts(sentence, words, tokens.verbs, self.backbone.not_a_point)

    def start_text(self, tokens: Tokens) -> Tensor:
        """(B, L, Ct): the text up to its first adapter. No frame plays a part, so a stream does it once."""
        text = self.text_encoder.embed(tokens)
        for stage in range(FIRST_ADAPTED_STAGE + 1):
            text = self.text_encoder.run_stage(stage, text, tokens)
        return text

    def pad(self, frames: Tensor) -> Tensor:
        """Pads (..., h, w) frames with zeros at the bottom and right to the canvas."""
        height, width = frames.shape[-2:]
        if max(height, width) > self.canvas:
            raise ValueError(f"frames of {height} x {width} don't fit the canvas of {self.canvas}")
        return F.pad(frames, (0, self.canvas - width, 0, self.canvas - height))

    # inference

    def forward(
        self, frames: Tensor, tokens: Tokens, state: StreamState | None = None
    ) -> tuple[Tensor, StreamState]:
        """Segments the next clip of a stream.

        Args:
            frames: (B, T, 3, h, w) normalised, h and w at most the canvas; (1, T, 3, h, w) is shared by
                the B sentences.
            tokens: B sentences.
            state: What the previous clip returned; None at the start of a video. It is not changed.

        Returns:
            (B, T, h, w) mask logits (the object is where they are > 0) and the state for the next clip.
        """
        output, state = self.stream(frames, tokens, state)
        return output.logits, state

    # training

    def forward_train(
        self,
        frames: Tensor,
        tokens: Tokens,
        video_of: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> TrainOutput:
        """Segments B clips, each from an empty memory, and compares late frames with their memory-less masks.

        Args:
            frames: (V, T, 3, h, w) normalised.
            tokens: B sentences.
            video_of: (B,) long, the clip of each sentence; see ``encode``.
            valid: (B, S, S) bool, the pixels of the canvas that aren't padding; by default ``frames``.
        """
        length, batch = frames.shape[1], len(tokens)
        if valid is None:
            valid = self.pad(torch.ones_like(frames[:1, 0, 0], dtype=torch.bool))
        features, rho = self.encode(self.see(frames), tokens, video_of)
        prompt = self.backbone.sparse_prompt(rho)
        bank = MemoryBank(self.config.memory)
        masks, scores, pairs = [], [], []
        crossed = partners(video_of, batch, frames.device) if self.config.cme.crossed else None
        for t in range(length):
            frame = features.at(t, length)
            tracked = self.track_recomputed(frame, prompt, *bank.stacked())
            mask = self.backbone.to_canvas(tracked.low_res_logits)
            if self.cme is not None and t > self.config.cme.window:
                pairs.append(compare(self, frame, prompt, tracked, mask, bank, crossed, valid))
            if t + 1 < length:
                bank.add(self.encode_memory(frame, mask, tracked), tracked.pointer)
            masks.append(mask)
            scores.append(tracked.score)
        logits, object_scores = torch.stack(masks, 1), torch.stack(scores, 1)  # B, T, S, S; B, T
        if not pairs:
            nothing, no_label = frames.new_zeros(batch, 0, 2), frames.new_zeros(batch, 0, dtype=torch.long)
            return TrainOutput(logits, object_scores, logits[:, :0].detach(), nothing, no_label)
        memoryless, decisions, labels = zip(*pairs, strict=True)
        return TrainOutput(
            logits, object_scores, torch.stack(memoryless, 1), torch.cat(decisions, 1), torch.cat(labels, 1)
        )
