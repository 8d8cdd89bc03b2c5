"""Small valid files, mutated: each is read, or refused in a sentence that names it, and nothing else.

The same examples every time, some hundred of each kind; ``pytest -m heavy tests/test_fuzz.py`` tries others
for half an hour. What it finds becomes a test of its own in ``test_untrusted.py``.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open

from samwise.config.allowed import check_overrides
from samwise.config.parts import PARTS
from samwise.data.build import fingerprint
from samwise.data.davis_text import read_sentences
from samwise.data.expressions_file import is_file_name, read_expressions
from samwise.data.masks.label_maps import read_label_map
from samwise.data.mevis import MeViSStorage
from samwise.data.preparation.unpack import plan_unpacking, unpack, unpack_frames
from samwise.data.ref_youtube_vos import RefYouTubeVosStorage
from samwise.data.refcoco import RefCocoStorage
from samwise.data.refs_file import read_refs
from samwise.encoders.pickled import load_pickled
from samwise.evaluation.evaluate import decode_prediction
from samwise.evaluation.predictions import PredictionZip
from samwise.evaluation.protocols import find_predictions
from samwise.evaluation.submission import check_submission
from samwise.evaluation.submission_plan import SubmissionPlan
from samwise.video.images import frame_size, read_frame
from samwise.video.mask_png import decode_mask_png, encode_mask_png, png_size
from samwise.weights.checkpoint import read_checkpoint
from samwise.weights.finding import find_checkpoint
from samwise.weights.frozen import IDENTITY_KEY
from samwise.weights.metadata import CONFIG_KEY, checkpoint_config
from tests.conftest import rectangle, write_split
from tests.fuzzing import mutated, mutated_json, mutated_pickle, mutated_png, mutated_tree
from tests.untrusted import Refusal, read_or_refused

MASK = rectangle(4, 8)


@dataclass
class Target:
    """What is fuzzed.

    Attributes:
        inputs: The mutated files.
        check: Reads one in a folder, and looks at what was read.
        examples: How many are tried each time; one costs from a tenth of a millisecond to some ten.
        prepare: Makes what is beside the file in the folder.
    """

    inputs: st.SearchStrategy
    check: Callable[[Path, Any], None]
    examples: int = 50
    prepare: Callable[[Path], None] = lambda folder: None


TARGETS: dict[str, Target] = {}


def target(
    inputs: st.SearchStrategy, examples: int = 50, prepare: Callable[[Path], None] | None = None
) -> Any:
    def add(check: Callable[[Path, Any], None]) -> Callable[[Path, Any], None]:
        TARGETS[check.__name__] = Target(inputs, check, examples, prepare or (lambda folder: None))
        return check

    return add


def run(name: str, folder: Path, times: int) -> None:
    chosen = TARGETS[name]
    chosen.prepare(folder)

    @settings(
        max_examples=chosen.examples * times,
        derandomize=times == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # shrinking a slow example takes minutes; the example itself is shown
    )
    @given(chosen.inputs)
    def check(value: Any) -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            chosen.check(folder, value)

    check()


# Expressions


def _split(folder: Path) -> None:
    write_split(folder / "train", with_masks=True)


def _split_file(name: str) -> Any:
    """A file of the split that :func:`_split` writes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        _split(Path(folder))
        return json.loads((Path(folder) / "train" / name).read_text())


EXPRESSIONS, MASK_DICT = _split_file("meta_expressions.json"), _split_file("mask_dict.json")


@target(mutated_json(EXPRESSIONS), 60, _split)
def expressions(folder: Path, data: bytes) -> None:
    path = folder / "train/meta_expressions.json"
    path.write_bytes(data)
    videos = read_or_refused(lambda: read_expressions(path), path.name)
    if isinstance(videos, Refusal):
        return
    for video_id, video in videos.items():
        names = [video_id, *video.frames, *(e.expression_id for e in video.expressions)]
        assert all(is_file_name(name) for name in names)
        assert all(e.text.strip() and e.text.encode() for e in video.expressions)
    storage = MeViSStorage(folder, "train")
    read_or_refused(lambda: fingerprint(storage), str(folder))
    for expression in storage.expressions():
        read_or_refused(lambda e=expression: storage.masks(e, [0]), str(folder))


@target(mutated_json(MASK_DICT), 60, _split)
def mask_dict(folder: Path, data: bytes) -> None:
    path = folder / "train/mask_dict.json"
    path.with_name("mask_dict.json.index.sqlite").unlink(missing_ok=True)
    path.write_bytes(data)
    storage = MeViSStorage(folder, "train")
    for expression in storage.expressions():
        visible = read_or_refused(lambda e=expression: storage.visible(e), path.name)
        masks = read_or_refused(lambda e=expression: storage.masks(e, range(5)), path.name)
        if isinstance(masks, np.ndarray):
            assert masks.shape == (5, 40, 60) and masks.dtype == bool
            assert masks.any((1, 2)).tolist() == visible.tolist()


def _ytvos(folder: Path) -> None:
    _split(folder)
    (folder / "meta_expressions").mkdir()
    shutil.copytree(folder / "train", folder / "meta_expressions/train")
    (folder / "train/Annotations").mkdir()


YTVOS = {"videos": {name: {"objects": {str(k): {} for k in range(1, 4)}} for name in ("video_a", "video_b")}}


@target(st.tuples(mutated_json(EXPRESSIONS), mutated_json(YTVOS)), 25, _ytvos)
def objects(folder: Path, data: tuple[bytes, bytes]) -> None:
    (folder / "meta_expressions/train/meta_expressions.json").write_bytes(data[0])
    (folder / "train/meta.json").write_bytes(data[1])
    read_or_refused(lambda: RefYouTubeVosStorage(folder, "train"), "meta.json", "meta_expressions.json")


@target(mutated(b'\xef\xbb\xbfbear 1 "the bear"\r\nbike 2 "caf\xe9 on wheels"\nbike 3 \x93a\x94\n'))
def sentences(folder: Path, data: bytes) -> None:
    (folder / "Davis17_annot1.txt").write_bytes(data)
    for sentence in read_or_refused(lambda: read_sentences(folder / "Davis17_annot1.txt"), "Davis17_annot1"):
        if not isinstance(sentence, str):
            assert is_file_name(sentence.video_id) and sentence.text.encode()


# RefCOCO

REFS = [
    {
        "ann_id": k,
        "image_id": k,
        "split": "train",
        "sentences": [
            {"sent_id": 2 * k + i, "sent": text, "raw": text} for i, text in enumerate(["a dog", "it"])
        ],
    }
    for k in (1, 2)
]
RLE = {"size": [40, 60], "counts": [100, 20, 2280]}
INSTANCES = {
    "images": [{"id": k, "file_name": f"{k}.jpg", "height": 40, "width": 60} for k in (1, 2)],
    "annotations": [
        {"id": 1, "segmentation": [[5, 5, 20, 5, 20, 20], [30, 30, 40, 30, 40, 35, 30.5, 35.5]]},
        {"id": 2, "segmentation": RLE},
    ],
}


def _coco(folder: Path) -> None:
    (folder / "train2014").mkdir()
    (folder / "refcoco").mkdir()
    for k in (1, 2):
        Image.new("RGB", (60, 40)).save(folder / f"train2014/{k}.jpg")
    (folder / "refcoco/refs(unc).p").write_bytes(pickle.dumps(REFS, 2))


@target(st.one_of(mutated_pickle(REFS), *(mutated(pickle.dumps(REFS, p)) for p in (0, 2, 4))), 120)
def refs(folder: Path, data: bytes) -> None:
    path = folder / "refs(unc).p"
    path.write_bytes(data)
    modules = set(sys.modules)
    found = read_or_refused(lambda: read_refs(path), path.name)
    assert all(name.startswith("encodings") for name in set(sys.modules) - modules)
    if isinstance(found, list):
        assert all(s.text.strip() and s.text.encode() for ref in found for s in ref.sentences)


@target(mutated_json(INSTANCES), 60, _coco)
def instances(folder: Path, data: bytes) -> None:
    (folder / "refcoco/instances.json").write_bytes(data)

    def read() -> None:
        storage = RefCocoStorage(folder, ["refcoco/unc"], "train")
        for expression in storage.expressions():
            storage.frame_path(expression.video_id, expression.video_id)
            if (storage.images / f"{expression.video_id}.jpg").is_file():
                assert storage.masks(expression, [0]).shape == (1, 40, 60)

    read_or_refused(read, "instances.json", str(folder))


# Pictures


def _saved(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def _palette() -> Image.Image:
    image = Image.fromarray(MASK.astype(np.uint8))
    image.putpalette([0, 0, 0, 128, 0, 0])
    return image


PNGS = [encode_mask_png(MASK), _saved(Image.fromarray(MASK), "PNG"), _saved(_palette(), "PNG")]


@target(st.one_of(*(strategy(png) for png in PNGS for strategy in (mutated, mutated_png))), 120)
def pngs(folder: Path, data: bytes) -> None:
    (folder / "x.png").write_bytes(data)
    for read in (
        lambda: decode_mask_png(data, "x.png"),
        lambda: decode_prediction(data, "x.png")[0],
        lambda: read_label_map(folder / "x.png"),
    ):
        mask = read_or_refused(read, "x.png")
        if isinstance(mask, np.ndarray):
            assert mask.shape == png_size(data, "x.png")


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8))
FRAMES = [_saved(NOISE, form) for form in ("JPEG", "PNG", "WEBP", "TIFF", "BMP")]


@target(st.one_of(*map(mutated, FRAMES), mutated_png(FRAMES[1])), 120)
def frames(folder: Path, data: bytes) -> None:
    path = folder / "0.jpg"
    path.write_bytes(data)
    size, image = (read_or_refused(lambda r=r: r(path), path.name) for r in (frame_size, read_frame))
    if isinstance(image, np.ndarray):
        assert image.shape == (*size, 3) and image.dtype == np.uint8


# Zips and tars


def _zipped(names: list[str], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in names:
            archive.writestr(name, encode_mask_png(MASK))
    return buffer.getvalue()


METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
PLAN = SubmissionPlan({"v": ["0", "1"]}, {"v": ["0"]}, "mevis", {"v": (40, 60)}, "meta_expressions.json")
NAMES = sorted(PLAN.names())


@target(st.one_of(*(mutated(_zipped(["train/v/0.png", "train/v/1.png"], m)) for m in METHODS)), 60)
def zips(folder: Path, data: bytes) -> None:
    path, root = folder / "train.zip", folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    path.write_bytes(data)

    def unpacked() -> None:
        unpack(plan_unpacking(path, root, {"train"}), root)

    read_or_refused(unpacked, "train.zip", str(root))
    assert {x.name for x in folder.iterdir()} == {"train.zip", "root"}
    assert {x.name for x in root.iterdir()} <= {"train"}


@target(st.one_of(*(mutated(_zipped(NAMES, m)) for m in METHODS[:2])), 40)
def submissions(folder: Path, data: bytes) -> None:
    path = folder / "s.zip"
    path.write_bytes(data)

    def checked() -> None:
        try:
            check_submission(path, PLAN)
        except Exception as error:  # a list of faults has several lines
            raise type(error)(str(error).replace("\n", "; ")) from error

    def scored() -> None:
        opened = PredictionZip(path, set(NAMES))
        for file in opened.files("v/0"):
            mask, _ = decode_prediction(*opened.read(f"v/0/{file}"))
            assert mask.dtype == bool

    read_or_refused(checked, "s.zip")
    read_or_refused(scored, "s.zip")


def _tar(form: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=form) as archive:  # type: ignore[call-overload]
        for name in ("JPEGImages/v/0.jpg", "JPEGImages/v/" + "1" * 120 + ".jpg"):
            entry = tarfile.TarInfo(name)
            entry.size = 1000
            archive.addfile(entry, io.BytesIO(bytes(1000)))
    return buffer.getvalue()


@target(st.one_of(*(mutated(_tar(form)) for form in ("w", "w", "w:gz", "w:bz2", "w:xz"))), 60)
def tars(folder: Path, data: bytes) -> None:
    path = folder / "JPEGImages.tar"
    shutil.rmtree(folder / "JPEGImages", ignore_errors=True)
    path.write_bytes(data)
    read_or_refused(lambda: unpack_frames(path), "JPEGImages.tar", str(folder / "JPEGImages"))
    assert {x.name for x in folder.iterdir()} <= {"JPEGImages.tar", "JPEGImages"}


# Checkpoints and records

with safe_open(find_checkpoint(None), "pt") as _file:
    METADATA = _file.metadata()
CONFIG, IDENTITY = (json.loads(METADATA[key]) for key in (CONFIG_KEY, IDENTITY_KEY))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
_NODES = st.dictionaries(st.sampled_from(sorted(CONFIG)) | st.text(max_size=12), _VALUES, max_size=4)


@target(mutated_json(CONFIG).map(lambda data: data.decode("utf-8", "replace")) | _NODES.map(json.dumps), 30)
def configs(folder: Path, text: str) -> None:
    config = read_or_refused(
        lambda: checkpoint_config({CONFIG_KEY: text}, "any.safetensors"), "any.safetensors"
    )
    if not isinstance(config, Refusal):
        config.check()


@target(mutated_tree({"width": 5, "sizes": [1, 2, [3]]}, [float("inf"), "gelu", object()]) | _VALUES, 40)
def overrides(folder: Path, value: Any) -> None:
    given_keys = value if isinstance(value, dict) else {"width": value}
    found = read_or_refused(lambda: check_overrides("here", given_keys, {"width", "sizes"}), "here")
    assert isinstance(found, Refusal) or set(given_keys) <= {"width", "sizes"}


class _Network:
    """As much of a network as a look at the identity of its frozen parts needs: both are trained."""

    class config:
        frozen_parts: list[str] = []


@target(mutated_json(IDENTITY).map(lambda data: data.decode("utf-8", "replace")), 40)
def identities(folder: Path, text: str) -> None:
    from samwise.weights.checkpoint import check_frozen

    metadata = {CONFIG_KEY: METADATA[CONFIG_KEY], IDENTITY_KEY: text}
    call = lambda: check_frozen(_Network(), metadata, "any.safetensors", True)  # type: ignore[arg-type] # noqa: E731
    if not isinstance(read_or_refused(call, "any.safetensors"), Refusal):
        assert set(json.loads(text)) <= set(PARTS)


def _safetensors() -> bytes:
    from safetensors.torch import save

    return save({"a": torch.ones(2, 3), "b": torch.zeros(4)}, {CONFIG_KEY: "{}"})


@target(mutated(_safetensors()), 60)
def checkpoints(folder: Path, data: bytes) -> None:
    (folder / "a.safetensors").write_bytes(data)
    read_or_refused(lambda: read_checkpoint(folder / "a.safetensors"), "a.safetensors")


def _torch(new: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.ones(2, 3)}, "epoch": 3}, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


@target(mutated(_torch(True)) | mutated(_torch(False)), 40)
def pickled_weights(folder: Path, data: bytes) -> None:
    (folder / "a.pth").write_bytes(data)
    read_or_refused(lambda: load_pickled(folder / "a.pth"), "a.pth")


@target(mutated_json({"settings": {"predictions": "/nowhere", "data": "mevis"}, "J": 0.5}), 60)
def scores(folder: Path, data: bytes) -> None:
    (folder / "scores.json").write_bytes(data)
    found = read_or_refused(lambda: find_predictions(folder), "scores.json")
    assert isinstance(found, Refusal) or found.exists()


@pytest.mark.parametrize("name", list(TARGETS))
def test_fuzz(name: str, tmp_path: Path) -> None:
    run(name, tmp_path, times=1)


@pytest.mark.heavy
@pytest.mark.parametrize("name", list(TARGETS))
def test_fuzz_for_long(name: str, tmp_path: Path) -> None:
    run(name, tmp_path, times=120)
