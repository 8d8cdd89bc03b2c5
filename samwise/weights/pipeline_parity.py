"""Parity from files to files: a released checkpoint and frames in, the published scripts' masks out.

The folder's checkpoint is written as the authors' training writes it, converted, and handed to the very
program that users call, ``scripts/infer.py``, on data in each benchmark's own form.
"""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samwise.config.composing import compose_model
from samwise.config.network import SamwiseConfig
from samwise.config.parts import BackboneConfig
from samwise.data.davis_text import FILES, FOLDER
from samwise.data.masks.label_maps import read_label_map
from samwise.errors import UserError
from samwise.io import read_json, write_json
from samwise.video.images import frame_size
from samwise.video.mask_png import read_mask_png
from samwise.weights.conversion import convert
from samwise.weights.parity import Check
from samwise.weights.seeded import seeded_state

PIXELS, SHARE = 3, 3e-4  # of a frame may differ in a video's masks, whichever is more
FINETUNED, PRETRAINED = "layout.json", "layout_pretrained.json"
_INFER = "from samwise.inference.infer import main; main()"  # what scripts/infer.py does
_ANNOTATORS = len(FILES)


def is_pipeline(path: str | Path) -> bool:
    """Whether a golden folder has masks as files."""
    return any((Path(path) / part).is_dir() for part in ("mevis_masks", "davis", "refcoco"))


class PipelineFolder:
    """A golden folder with any of ``mevis``, ``davis`` and ``refcoco``, and the masks for them.

    Args:
        path: The folder: ``meta.json``, ``layout.json``, ``layout_pretrained.json``, ``tokenizer/`` and data.

    Raises:
        UserError: A file is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.meta: dict[str, Any] = read_json(self.path / "meta.json")

    def checks(self) -> Iterator[tuple[str, list[Check], dict[str, str]]]:
        """Runs each part: its name, a figure for each sentence, and what the conversion left out."""
        stages = {
            FINETUNED: {"mevis": self._mevis, "davis": self._davis},
            PRETRAINED: {"refcoco": self._refcoco},
        }
        for layout, parts in stages.items():
            there = {name: run for name, run in parts.items() if (self.path / name).is_dir()}
            with tempfile.TemporaryDirectory() as folder:
                checkpoint, left_out = self._checkpoint(layout, Path(folder)) if there else (Path(), {})
                for name, run in there.items():
                    yield name, list(run(checkpoint, Path(folder) / name)), left_out

    def model_config(self) -> SamwiseConfig:
        """What a file of weights can't say: the sizes, the canvas, the tokenizer."""
        meta, config = self.meta, compose_model("released")
        name = meta["sam2_base_config"].split()[0]
        family = "sam2.1" if name.startswith("sam2.1") else "sam2"
        config.canvas, config.clip_length = meta["image_size"], meta["clip_length"]
        config.backbone = BackboneConfig(f"configs/{family}/{name}", meta["sam2_overrides"])
        text = config.text_encoder
        text.overrides, text.pretrained, text.tokenizer = meta["roberta"], False, str(self.path / "tokenizer")
        config.adapter.dim, config.adapter.heads = meta["adapter"]["dim"], meta["adapter"]["heads"]
        return config

    def write_released(self, layout: str, target: Path) -> None:
        """Writes the seeded checkpoint in the authors' form."""
        names: dict[str, Any] = read_json(self.path / layout)
        values = {**self.meta.get("set", {}), **self.meta.get("buffers", {})}
        sizes = {name: (shape, dtype) for name, (shape, dtype) in names.items()}
        state = seeded_state(sizes, {name: x for name, x in values.items() if name in names})
        torch.save({"model": state, "args": Namespace(layout=layout), "epoch": 0}, target)

    def _checkpoint(self, layout: str, folder: Path) -> tuple[Path, dict[str, str]]:
        source = folder / Path(layout).with_suffix(".pth").name
        target = source.with_suffix(".safetensors")
        self.write_released(layout, source)
        left_out = convert(source, target, self.model_config()).left_out
        source.unlink()  # at full size each is 0.8 GB
        return target, left_out

    def _mevis(self, checkpoint: Path, folder: Path) -> Iterator[Check]:
        predictions = _infer(folder, checkpoint, "mevis", f"data.root={self.path}/mevis", "split=valid")
        golden = self.path / "mevis_masks"
        for expression in sorted(golden.glob("*/*")):
            name = expression.relative_to(golden)
            worst, allowed = 0, float(PIXELS)
            for file in _pngs(expression):
                expected = read_mask_png(file)
                found = read_mask_png(predictions / name / file.name)
                worst = max(worst, _differing(found, expected))
                allowed = max(PIXELS, SHARE * expected.size)
            yield Check(f"{name}: pixels of the worst frame", worst, allowed)

    def _refcoco(self, checkpoint: Path, folder: Path) -> Iterator[Check]:
        given = self.path / "refcoco"
        _coco_tree(folder / "data", given / "image.jpg", read_json(given / "sentences.json"))
        options = (f"data.root={folder}/data", "data.datasets=[refcoco/unc]", "split=val")
        predictions = _infer(folder, checkpoint, "refcoco", *options)
        for file in _pngs(given):
            found = read_mask_png(predictions / "image" / f"refcoco_{file.stem}" / "image.png")
            yield Check(f"sentence {file.stem}: pixels", _differing(found, read_mask_png(file)), 0.0)

    def _davis(self, checkpoint: Path, folder: Path) -> Iterator[Check]:
        given = self.path / "davis"
        _davis_tree(folder / "data", given / "frames", read_json(given / "expressions.json"))
        predictions = _infer(folder, checkpoint, "davis", f"data.root={folder}/data", "split=val")
        for annotator in sorted(given.glob("anno_*")):
            maps = predictions.parent / "label_maps" / annotator.name / "video"
            different = [
                _differing(read_label_map(maps / file.name), read_label_map(file))
                for file in _pngs(annotator)
            ]
            yield Check(f"{annotator.name}: pixels of {len(different)} label maps", sum(different), 0.0)


def _infer(folder: Path, checkpoint: Path, experiment: str, *options: str) -> Path:
    """Runs the program and returns its folder of predictions."""
    output = folder / "run"
    fixed = (f"experiment={experiment}", f"checkpoint={checkpoint}", f"output={output}", "submission=false")
    command = [sys.executable, "-c", _INFER, *fixed, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"inference failed: {done.stderr.strip().splitlines()[-1]}")
    return output / "predictions"


def _pngs(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.png"))
    if not files:
        raise UserError(f"{folder} has no masks to compare with")
    return files


def _differing(found: np.ndarray, expected: np.ndarray) -> int:
    """Number of pixels; all of them if the sizes differ."""
    return expected.size if found.shape != expected.shape else int((found != expected).sum())


def _coco_tree(root: Path, image: Path, sentences: dict[str, str]) -> None:
    """RefCOCO's files for one image and its sentences, ids as given."""
    (root / "train2014").mkdir(parents=True)
    (root / "refcoco").mkdir()
    shutil.copy(image, root / "train2014" / "image.jpg")
    height, width = frame_size(image)
    box = [0, 0, width, 0, width, height]  # an object must have an outline; inference doesn't look at it
    instances = {
        "images": [{"id": 1, "file_name": "image.jpg", "height": height, "width": width}],
        "annotations": [{"id": 1, "image_id": 1, "segmentation": [box]}],
    }
    write_json(root / "refcoco" / "instances.json", instances)
    spoken = [{"sent_id": int(number), "sent": text} for number, text in sentences.items()]
    refs = [{"ann_id": 1, "image_id": 1, "split": "val", "sentences": spoken}]
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))


def _davis_tree(root: Path, frames: Path, given: dict[str, Any]) -> None:
    """Ref-DAVIS17's files for one video; objects are numbered from 1, each has four annotators' sentences."""
    target = root / "DAVIS" / "JPEGImages" / "480p" / "video"
    target.mkdir(parents=True)
    for name in given["frames"]:
        shutil.copy(frames / f"{name}.jpg", target)
    (root / "DAVIS" / "ImageSets" / "2017").mkdir(parents=True)
    (root / "DAVIS" / "ImageSets" / "2017" / "val.txt").write_text("video\n")
    texts = [given["expressions"][key]["exp"] for key in sorted(given["expressions"], key=int)]
    (root / FOLDER).mkdir()
    for annotator, file in enumerate(FILES):
        lines = [f'video {k} "{text}"\n' for k, text in enumerate(texts[annotator::_ANNOTATORS], 1)]
        (root / FOLDER / file).write_text("".join(lines), encoding="utf-8")
