"""Trains the tiny text encoder's tokenizer on the grammar of the embedded data.

``python tools/make_tokenizer.py`` writes ``samwise/assets/tiny_tokenizer.json``: byte-level BPE, so that any
sentence can be tokenized, with the grammar's words as single tokens. The same corpus gives the same file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import samwise
from samwise.io import atomic_path
from samwise.synthrvos.grammar import grammar_corpus

VOCABULARY = 1024
SENTENCES, SEED = 20000, 20260
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def main() -> None:
    if sys.argv[1:]:
        sys.exit(f"this takes no arguments, but got {sys.argv[1]!r}\n{__doc__}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    corpus = [sentence.lower() for sentence in grammar_corpus(SENTENCES, SEED)]
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    path = Path(samwise.__file__).parent / "assets" / "tiny_tokenizer.json"
    with atomic_path(path) as temporary:
        tokenizer.save(str(temporary))
    lengths = [len(tokenizer.encode(sentence).ids) for sentence in corpus]
    print(f"{path}: {tokenizer.get_vocab_size()} tokens; sentences of up to {max(lengths)} tokens")


if __name__ == "__main__":
    main()
