"""The small text encoder: masked language modelling on the grammar of the embedded data's sentences.

Masked words never train token 0, whose state becomes the contextual prompt (Eq. 1). So every token, including
this one, must also predict the whole sentence, as in pretraining for retrieval (RetroMAE, Xiao et al. 2022).
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor, nn

from samwise.config.network import SamwiseConfig
from samwise.encoders.text_encoder import StagedTextEncoder, build_text_encoder
from samwise.encoders.tokens import Tokenizer, Tokens
from samwise.errors import UserError
from samwise.foundation.config import LanguageConfig
from samwise.progress import progress
from samwise.synthrvos.grammar import grammar_corpus
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.training.optim import Schedule, build_optimizer
from samwise.weights.frozen import write_half

MASK_ID, FIRST_WORD = 4, 5  # of the embedded tokenizer: special tokens come first


class MaskedLanguageModel(nn.Module):
    """A text encoder with RoBERTa's head (dense, GELU, LayerNorm, tied word embeddings) and a second one.

    From the state of one token, the second head predicts the word at any position.

    Args:
        encoder: The text encoder.
        longest: Most tokens in a sentence.
    """

    def __init__(self, encoder: StagedTextEncoder, longest: int) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.width
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.place = nn.Embedding(longest, width)
        self.sentence_head = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.LayerNorm(width)
        )
        self.bias = nn.Parameter(torch.zeros(len(self.words)))

    @property
    def words(self) -> Tensor:
        """(V, Ct): the word embeddings."""
        return self.encoder.model.get_parameter("embeddings.word_embeddings.weight")

    def forward(self, tokens: Tokens, teller: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, V) logits of the masked words, and of all words predicted from token ``teller`` (B,)."""
        x = self.encoder.embed(tokens)
        for stage in range(4):
            x = self.encoder.run_stage(stage, x, tokens)
        sentence = x[torch.arange(len(x)), teller][:, None].expand_as(x)  # B, L, Ct
        place = self.place.weight[: x.shape[1]].expand_as(x)
        told = self.sentence_head(torch.cat([sentence, place], -1))
        return self.head(x) @ self.words.T + self.bias, told @ self.words.T + self.bias


def corrupt(
    ids: Tensor, padding: Tensor, share: float, vocabulary: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """RoBERTa's dynamic masking.

    Args:
        ids: (B, L) long.
        padding: (B, L) bool.
        share: Share of the words to predict, in [0, 1].
        vocabulary: Number of token ids.
        rng: Source of randomness.

    Returns:
        The corrupted (B, L) ids, and the (B, L) targets: -100 where nothing is to be predicted.
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
        model: Its ``text_encoder`` is trained.
        config: How to train it.
        path: The ``.safetensors`` file to write.

    Returns:
        On held-out sentences, ``loss`` in nats and ``accuracy`` in [0, 1] of the masked words, and
        ``sentence_accuracy`` of all words predicted from a random token; and ``seconds``.

    Raises:
        UserError: The encoder's longest sentence isn't configured.
    """
    if (longest := model.text_encoder.max_tokens) is None:
        raise UserError("set model.text_encoder.max_tokens, the most tokens in a sentence")
    torch.manual_seed(config.seed)
    network = MaskedLanguageModel(build_text_encoder(model.text_encoder), longest)
    tokenize = Tokenizer(model.text_encoder, verbs=False, lowercase=True)
    corpus = list(dict.fromkeys(grammar_corpus(config.sentences + config.held_out, config.seed + 1)))
    held_out, corpus = corpus[: config.held_out], corpus[config.held_out :]
    adamw = OptimizerConfig("adamw", lr=config.lr, weight_decay=0.01, betas=[0.9, 0.98])
    optimizer = build_optimizer(network, adamw)
    cosine = TrainingConfig(max_steps=config.max_steps, schedule="cosine", warmup_steps=100)
    schedule = Schedule(cosine, steps_per_epoch=1)
    rng = torch.Generator().manual_seed(config.seed)
    network.train()
    start = time.perf_counter()
    for step in (bar := progress(range(config.max_steps), "masked language model", unit="step")):
        schedule.apply(optimizer, step, 0.0)
        picked = torch.randint(len(corpus), (config.batch_size,), generator=rng).tolist()
        masked, _, told, _ = _guess(network, tokenize([corpus[i] for i in picked]), config.masked, rng)
        (masked + config.sentence * told).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        bar.set_postfix_str(f"masked {masked:.3f}, sentence {told:.3f}", refresh=False)
    network.eval()
    with torch.inference_mode():
        batches = [tokenize(held_out[i : i + 200]) for i in range(0, len(held_out), 200)]
        rows = [torch.stack(_guess(network, batch, config.masked, rng)).double() for batch in batches]
    loss, accuracy, _, sentence_accuracy = torch.stack(rows).mean(0).tolist()
    write_half(path, "text_encoder.model.", network.encoder.model.state_dict())
    return {
        "loss": loss,
        "accuracy": accuracy,
        "sentence_accuracy": sentence_accuracy,
        "seconds": time.perf_counter() - start,
    }


def _guess(
    network: MaskedLanguageModel, tokens: Tokens, share: float, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss and accuracy of a batch's masked words, and of all its words predicted from one random token."""
    ids, targets = corrupt(tokens.ids, tokens.padding, share, len(network.bias), rng)
    lengths = (~tokens.padding).sum(1)  # B
    teller = (torch.rand(lengths.shape, generator=rng) * lengths).long()
    masked, told = network(Tokens(ids, tokens.padding, tokens.verbs, tokens.padded), teller)
    words = torch.where((tokens.ids >= FIRST_WORD) & ~tokens.padding, tokens.ids, -100)
    return *_score(masked, targets), *_score(told, words)


def _score(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats, and the share of correct words."""
    logits, targets = logits.flatten(0, 1), targets.flatten()
    right = (logits.argmax(1) == targets)[targets >= 0]
    return nn.functional.cross_entropy(logits, targets), right.float().mean()
