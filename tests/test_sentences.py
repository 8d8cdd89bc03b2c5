"""Sentences that the text encoder doesn't know or can't take whole: said once, where it is seen."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from samwise.config.parts import TextEncoderConfig
from samwise.data.build import build_storage
from samwise.data.types import Expression
from samwise.encoders.tokens import Tokenizer
from samwise.errors import UserError
from samwise.inference.dataset import DatasetInference
from samwise.inference.predictor import SamwisePredictor
from samwise.inference.sentences import check_expressions, cut, doubt, fitting
from samwise.modeling.samwise import Samwise
from samwise.training.validation import Validation
from tests.test_inference import noise
from tests.test_samwise import build

CHINESE, KNOWN = "红色的汽车", "the red circle moving left"
LONG = "the red circle " * 40


@pytest.fixture
def model() -> Samwise:
    return build("model.clip_length=4").requires_grad_(False)


def word_pieces(folder: Path) -> TextEncoderConfig:
    """BERT's kind of tokenizer, with more words than count as few."""
    folder.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "the",
        "red",
        "##dish",
        "car",
        *(f"w{k}" for k in range(6000)),
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return TextEncoderConfig(family="bert", name="bert-base-uncased", tokenizer=str(folder))


def test_shares_of_unknown_tokens(tmp_path: Path, model: Samwise) -> None:
    bert = Tokenizer(word_pieces(tmp_path / "bert"), verbs=False, lowercase=True)
    assert bert.look("the reddish car").unknown == 0  # pieces of a large vocabulary say something
    assert bert.look("the red zebra").unknown == pytest.approx(1 / 3)
    assert bert.look("собака бежит the").unknown == pytest.approx(2 / 3)
    clip = TextEncoderConfig(family="clip", name="ViT-B-16-quickgelu")
    assert Tokenizer(clip, verbs=False, lowercase=True).look(CHINESE).unknown == 0
    assert model.tokenizer.look(KNOWN).unknown == 0 and model.tokenizer.look(CHINESE).unknown == 1


def test_typed_sentences_are_doubted_once(model: Samwise, caplog: pytest.LogCaptureFixture) -> None:
    predictor = SamwisePredictor(model, "cpu")
    for _ in range(2):
        list(predictor.segment_video(noise(2), [CHINESE, KNOWN]))
    session = predictor.start_session([KNOWN])
    session.add_expression("the zebra galloping")
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(f"the text encoder doesn't know 100% of “{CHINESE}”")
    assert "take a network with another encoder" in caplog.messages[0]
    assert "“the zebra galloping”" in caplog.messages[1]
    assert doubt(model, KNOWN) is None


def test_what_is_cut(model: Samwise) -> None:
    """Whole words; of a sentence without spaces as much as fits. What is typed is refused as ever."""
    most = model.tokenizer.max_tokens
    assert cut(model.tokenizer, f" {KNOWN} ") == f" {KNOWN} "
    kept = cut(model.tokenizer, LONG)
    assert kept.split() == LONG.split()[: len(kept.split())] and len(model.tokenize([kept]).ids[0]) == most
    assert cut(model.tokenizer, f"{KNOWN} {CHINESE * 20}").startswith(f"{KNOWN} {CHINESE}")
    chinese = cut(model.tokenizer, CHINESE * 20)
    assert (
        chinese == (CHINESE * 20)[: len(chinese)]
        and most - 3 <= len(model.tokenize([chinese]).ids[0]) <= most
    )
    with pytest.raises(UserError, match="shorten it"):
        SamwisePredictor(model, "cpu").start_session([LONG])


def with_sentences(root: Path, *texts: str) -> None:
    """Writes sentences into the expression files of MeViS's small tree, in turn."""
    for file in root.glob("*/meta_expressions.json"):
        content = json.loads(file.read_text())
        nodes = [node for video in content["videos"].values() for node in video["expressions"].values()]
        for node, text in zip(nodes, texts, strict=False):
            node["exp"] = text
        file.write_text(json.dumps(content))


def storage_of(root: Path, split: str = "valid_u"):
    from omegaconf import OmegaConf

    return build_storage(OmegaConf.create({"format": "mevis", "root": str(root), "eval_split": split}))


def test_a_dataset_is_gone_through_to_its_end(
    mevis_tree: Path, tmp_path: Path, model: Samwise, caplog: pytest.LogCaptureFixture
) -> None:
    """A line for each sentence that is cut, one for all that are doubtful, before the work begins."""
    with_sentences(mevis_tree, "the box", LONG, CHINESE, "собака", "собака")
    storage = storage_of(mevis_tree)
    inference = DatasetInference(SamwisePredictor(model, "cpu"), storage, tmp_path / "out", 4)
    assert inference.run().segmented == 6
    assert len(list((tmp_path / "out").rglob("*.png"))) == 6 * 5
    cuts = [message for message in caplog.messages if "is cut after" in message]
    assert len(cuts) == 1 and cuts[0].startswith("video video_a, expression 1: ") and "64 tokens" in cuts[0]
    doubts = [message for message in caplog.messages if "doesn't know" in message]
    assert len(doubts) == 1 and "most of 4 of these 5 sentences, such as “" in doubts[0]
    assert caplog.messages.index(doubts[0]) < 2


def test_training_and_its_validation_take_long_sentences(
    mevis_tree: Path, model: Samwise, caplog: pytest.LogCaptureFixture
) -> None:
    from samwise.data.clips import ClipDataset
    from samwise.modeling.losses import SamwiseLoss
    from samwise.training.batches import BatchMaker
    from samwise.training.step import ClipStep

    with_sentences(mevis_tree, LONG)
    assert Validation(storage_of(mevis_tree), 4)(model, lambda: False) is not None
    dataset = ClipDataset(storage_of(mevis_tree, "train"), "contiguous", 2, model.canvas)
    long = next(i for i, (position, _) in enumerate(dataset._items) if position == 0)
    batch = BatchMaker(model)([dataset[long]])
    step = ClipStep(model.requires_grad_(True), SamwiseLoss())
    loss, _ = step(batch, [], last=True)
    assert torch.isfinite(loss)
    assert len(caplog.messages) == 1 and "video video_a, expression 0" in caplog.messages[0]


def test_known_sentences_are_not_spoken_of(model: Samwise, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "samwise"):
        check_expressions(model, [Expression("v", str(k), KNOWN) for k in range(3)])
    assert not caplog.records and fitting(model, Expression("v", "0", KNOWN)) == KNOWN
