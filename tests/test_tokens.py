"""Sentences to tokens: cleaning, verbs, limits, tokenizers without files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samwise.config.composing import compose_model
from samwise.config.network import SamwiseConfig
from samwise.config.parts import TextEncoderConfig
from samwise.data.types import ClipSample, Expression
from samwise.encoders.tokens import Tokenizer, mark_spans, verb_spans
from samwise.errors import UserError
from samwise.modeling.samwise import Samwise
from samwise.synthrvos.grammar import grammar_corpus
from samwise.training.batches import BatchMaker


def tiny(**changes: object) -> Tokenizer:
    config = compose_model("tiny_scratch").text_encoder
    return Tokenizer(config, **({"verbs": True, "lowercase": True} | changes))


@pytest.fixture(scope="module")
def clip_tokenizer() -> Tokenizer:
    return Tokenizer(TextEncoderConfig(family="clip", name="ViT-B-16-quickgelu"), verbs=True, lowercase=True)


def words(sentence: str, spans: list[tuple[int, int]]) -> list[str]:
    return [sentence[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("sentence", "verbs"),
    [
        ("the horse jumping over the fence", ["jumping"]),
        ("the red circle", []),
        ("the two birds that keep flying to the left", ["keep", "flying"]),
    ],
)
def test_verbs(sentence: str, verbs: list[str]) -> None:
    assert words(sentence, verb_spans(["a dog", sentence])[1]) == verbs


def test_verbs_are_marked_on_all_their_pieces() -> None:
    """A word the vocabulary lacks falls into pieces; all of a verb's are marked, and nothing else."""
    tokens = tiny()(["a dog galloping away"])
    encoding = tiny()._encode("a dog galloping away")
    marked = [encoding.spans[i] for i in range(len(encoding.ids)) if tokens.verbs[0, i]]
    assert len(marked) > 1
    assert "".join(words("a dog galloping away", marked)).strip() == "galloping"


def test_clip_pieces_too(clip_tokenizer: Tokenizer) -> None:
    sentence = "the dog's puppy outmanoeuvring it"
    tokens, encoding = clip_tokenizer([sentence]), clip_tokenizer._encode(sentence)
    marked = [encoding.spans[i] for i in range(len(encoding.ids)) if tokens.verbs[0, i]]
    assert "".join(words(sentence, marked)) == "outmanoeuvring" and len(marked) > 1
    assert tokens.ids[0, 0] == 49406 and tokens.ids[0, -1] == 49407


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), max_size=8),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=4),
)
def test_mark_spans(tokens: list[tuple[int, int]], marked: list[tuple[int, int]]) -> None:
    """A token is marked exactly when it shares a character with a marked span."""
    tokens = [(start, start + length) for start, length in tokens]
    marked = [(start, start + length) for start, length in marked]
    characters = {c for start, end in marked for c in range(start, end)}
    expected = [bool(characters & set(range(start, end))) for start, end in tokens]
    assert mark_spans(tokens, marked) == expected


def test_padding() -> None:
    tokens = tiny()(["a circle", "the big red circle on the left"])
    assert tokens.padded and tokens.padding[0].any() and not tokens.padding[1].any()
    assert (tokens.ids[0][tokens.padding[0]] == 1).all()
    assert not tiny()(["a circle", "a circle"]).padded


def test_case_and_white_space() -> None:
    folded, plain = tiny()(["  The  RED\tcircle\n"]), tiny()(["the red circle"])
    assert folded.ids.tolist() == plain.ids.tolist()
    assert tiny(lowercase=False)(["The red circle"]).ids.tolist() != plain.ids.tolist()


@pytest.mark.parametrize("sentence", ["", "   ", "\n\t"])
def test_empty_sentences(sentence: str) -> None:
    with pytest.raises(UserError, match="empty"):
        tiny()(["a dog", sentence])


def test_long_sentences() -> None:
    with pytest.raises(UserError, match="takes 64; shorten it"):
        tiny()(["dog " * 100])


def test_the_grammar_fits_the_embedded_tokenizer() -> None:
    tokens = tiny(verbs=False)(grammar_corpus(300, seed=9))
    assert tokens.ids.max() < compose_model("tiny_scratch").text_encoder.overrides["vocab_size"]
    assert tokens.ids.shape[1] < 30


def test_a_tokenizer_without_files_says_so(tmp_path: Path) -> None:
    """Offline, transformers can return an empty tokenizer without a word."""
    config = SamwiseConfig().text_encoder
    config.tokenizer = str(tmp_path)
    with pytest.raises(UserError, match="tokenizer"):
        Tokenizer(config, verbs=False, lowercase=True)


def test_where_the_tokenizer_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As configured, in the weights' folder (a file holds weights alone), in checkpoints/, else by name."""
    from samwise.encoders.tokens import _tokenizer_place

    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "out.frozen.safetensors"
    weights.touch()
    config = TextEncoderConfig(name="FacebookAI/roberta-base", checkpoint=str(weights))
    assert _tokenizer_place(config) == "FacebookAI/roberta-base"
    (tmp_path / "checkpoints/roberta-base").mkdir(parents=True)
    assert _tokenizer_place(config) == "checkpoints/roberta-base"
    config.checkpoint = str(tmp_path)
    assert _tokenizer_place(config) == str(tmp_path)
    config.tokenizer = "mine"
    assert _tokenizer_place(config) == "mine"


def test_workers_make_the_tokens_that_the_network_would() -> None:
    """Verbs too, and after being sent to another process; compiled, in few lengths."""
    model = Samwise(compose_model("tiny_scratch", ["model.canvas=64", "model.prompt.motion=true"]))
    texts = ["the red circle moving left", "the dog"]
    frames, mask = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 8, 8, dtype=torch.bool)
    samples = [ClipSample(frames, mask, Expression("v", text, text), [0]) for text in texts]
    expected = model.tokenize(texts)
    assert expected.verbs.any()
    found = pickle.loads(pickle.dumps(BatchMaker(model)))(samples).tokens
    for name in ("ids", "padding", "verbs"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
