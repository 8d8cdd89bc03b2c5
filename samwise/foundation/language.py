"""The small text encoder: masked-language modelling on the grammar of the embedded data's sentences."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from samwise.config import SamwiseConfig
from samwise.data.synthetic.grammar import grammar_corpus
from samwise.foundation.segmentation import write_half
from samwise.modeling.text_encoder import build_text_encoder
from samwise.modeling.tokens import Tokens, build_tokenizer
from samwise.progress import progress
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.training.optim import Schedule, build_optimizer

MASK_ID, FIRST_WORD = 4, 5  # of the embedded tokenizer: special tokens come first


@dataclass
class LanguageConfig:
    """Masked-language modelling, as RoBERTa was trained.

    Attributes:
        sentences: Sentences of the grammar to train on.
        held_out: Sentences to score on; none of them is trained on.
        masked: Share of the tokens to be guessed: 80 % of them are masked, 10 % replaced, 10 % kept.
        lr: Peak learning rate of AdamW; a cosine leads to 0.
        batch_size: Sentences per step.
        max_steps: Steps.
        seed: Of the corpus, the weights and the masks.
    """

    sentences: int = 60000
    held_out: int = 2000
    masked: float = 0.15
    lr: float = 1e-3
    batch_size: int = 64
    max_steps: int = 4000
    seed: int = 0


class MaskedLanguageModel(nn.Module):
    """A text encoder with RoBERTa's head: dense, GELU, LayerNorm, and the word embeddings once more."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.width
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        words = encoder.model.embeddings.word_embeddings.weight
        self.bias = nn.Parameter(torch.zeros(len(words)))

    def forward(self, tokens: Tokens) -> Tensor:
        """(B, L, V) logits."""
        x = self.encoder.embed(tokens)
        for stage in range(4):
            x = self.encoder.run_stage(stage, x, tokens)
        words = self.encoder.model.embeddings.word_embeddings.weight
        return self.head(x) @ words.T + self.bias


def corrupt(ids: Tensor, padding: Tensor, share: float, vocabulary: int, rng: torch.Generator) -> tuple:
    """RoBERTa's dynamic masking.

    Args:
        ids: (B, L) long.
        padding: (B, L) bool.
        share: Share of the words to be guessed.
        vocabulary: Number of token ids.
        rng: Source of the choices.

    Returns:
        The corrupted (B, L) ids, and the (B, L) targets: -100 where nothing is guessed.
    """
    draw = torch.rand(ids.shape, generator=rng)
    chosen = (draw < share) & (ids >= FIRST_WORD) & ~padding
    how = torch.rand(ids.shape, generator=rng)
    others = torch.randint(FIRST_WORD, vocabulary, ids.shape, generator=rng)
    out = torch.where(chosen & (how < 0.8), MASK_ID, ids)
    out = torch.where(chosen & (how >= 0.9), others, out)
    return out, torch.where(chosen, ids, -100)


def train_language(model: SamwiseConfig, config: LanguageConfig, path: Path) -> dict[str, float]:
    """Trains the text encoder and writes it as a frozen part.

    Args:
        model: Names the encoder: ``model.text_encoder``.
        config: How to train it.
        path: The ``.safetensors`` file.

    Returns:
        ``loss`` in nats and ``accuracy`` in [0, 1] of the guessed tokens on held-out sentences, and seconds.
    """
    torch.manual_seed(config.seed)
    network = MaskedLanguageModel(build_text_encoder(model.text_encoder))
    tokenize = build_tokenizer(model.text_encoder, verbs=False, lowercase=True)
    corpus = list(dict.fromkeys(grammar_corpus(config.sentences + config.held_out, config.seed + 1)))
    held_out, corpus = corpus[: config.held_out], corpus[config.held_out :]
    optimizer = build_optimizer(
        network, OptimizerConfig("adamw", lr=config.lr, weight_decay=0.01, betas=[0.9, 0.98])
    )
    schedule = Schedule(
        TrainingConfig(max_steps=config.max_steps, schedule="cosine", warmup_steps=100), steps_per_epoch=1
    )
    rng = torch.Generator().manual_seed(config.seed)
    network.train()
    start = time.perf_counter()
    for step in (bar := progress(range(config.max_steps), "masked language model", unit="step")):
        schedule.apply(optimizer, step, 0.0)
        picked = torch.randint(len(corpus), (config.batch_size,), generator=rng).tolist()
        loss, _ = _guess(network, tokenize([corpus[i] for i in picked]), config.masked, rng)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        bar.set_postfix_str(f"loss {loss.item():.3f}", refresh=False)
    network.eval()
    with torch.inference_mode():
        results = [
            _guess(network, tokenize(held_out[i : i + 200]), config.masked, rng)
            for i in range(0, len(held_out), 200)
        ]
    write_half(path, "text_encoder.model.", network.encoder.model.state_dict())
    losses, accuracies = zip(*results, strict=True)
    return {
        "loss": float(sum(losses)) / len(losses),
        "accuracy": float(sum(accuracies)) / len(accuracies),
        "seconds": time.perf_counter() - start,
    }


def _guess(
    network: MaskedLanguageModel, tokens: Tokens, masked: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Loss and accuracy on the masked tokens of a batch."""
    ids, targets = corrupt(tokens.ids, tokens.padding, masked, len(network.bias), rng)
    logits = network(Tokens(ids, tokens.padding, tokens.verbs, tokens.padded)).flatten(0, 1)
    targets = targets.flatten()
    loss = nn.functional.cross_entropy(logits, targets)
    guessed = targets >= 0
    return loss, (logits.argmax(1) == targets)[guessed].float().mean()
