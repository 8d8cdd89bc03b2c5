"""RefCOCO's files as one-frame videos."""

import json
import os
import pickle

import numpy as np
import pytest
from conftest import encode, rectangle
from omegaconf import OmegaConf
from PIL import Image

from samwise.config.composing import CONFIG_DIR
from samwise.data.build import build_storage, build_train_dataset
from samwise.data.refcoco import RefCocoStorage
from samwise.errors import UserError

UNC = ["refcoco/unc"]


def write_dataset(root, folder, by):
    images = [
        {"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "height": 40, "width": 60} for i in (7, 8)
    ]
    mask = rectangle(5, 10)
    annotations = [
        {"id": 1, "image_id": 7, "segmentation": [[10, 5, 24, 5, 24, 17, 10, 17]]},
        {"id": 2, "image_id": 7, "segmentation": encode(mask)},
        {"id": 3, "image_id": 8, "segmentation": {"size": [40, 60], "counts": [410, 5, 1985]}},
    ]
    refs = [
        {
            "ref_id": i,
            "ann_id": ann,
            "image_id": image,
            "file_name": f"COCO_train2014_{image:012d}_{ann}.jpg",
            "split": split,
            "sentences": [{"sent_id": 10 * i + k, "sent": f"box {ann} left"} for k in range(2)],
        }
        for i, (ann, image, split) in enumerate([(1, 7, "train"), (2, 7, "train"), (3, 8, "val")])
    ]
    (root / folder).mkdir(parents=True)
    (root / folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    (root / folder / f"refs({by}).p").write_bytes(pickle.dumps(refs, protocol=2))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "train2014").mkdir()
    for i in (7, 8):
        Image.new("RGB", (60, 40)).save(tmp_path / "train2014" / f"COCO_train2014_{i:012d}.jpg")
    write_dataset(tmp_path, "refcoco", "unc")
    write_dataset(tmp_path, "refcocog", "umd")
    return tmp_path


def test_sentences_and_masks(root):
    storage = RefCocoStorage(root, UNC, "train")
    assert [expression.key for expression in storage.expressions()] == [
        ("COCO_train2014_000000000007", f"refcoco_{i}") for i in (0, 1, 10, 11)
    ]
    polygon, _, rle, _ = storage.expressions()
    assert np.array_equal(storage.masks(polygon, [0])[0], rectangle(5, 10))
    assert np.array_equal(storage.masks(rle, [0, 0]), [rectangle(5, 10)] * 2)
    assert storage.visible(rle).tolist() == [True]
    uncompressed = RefCocoStorage(root, UNC, "val")
    mask = uncompressed.masks(uncompressed.expressions()[0], [0])[0]
    assert np.argwhere(mask).tolist() == [[row, 10] for row in range(10, 15)]


def test_joint_training_drops_what_any_dataset_tests_on(root):
    """Image 7 trains RefCOCO, but RefCOCOg validates on it; image 8 the other way round."""
    path = root / "refcocog" / "refs(umd).p"
    refs = pickle.loads(path.read_bytes())
    refs[0]["split"], refs[2]["split"] = "val", "train"
    path.write_bytes(pickle.dumps(refs, protocol=2))
    both = [*UNC, "refcocog/umd"]
    assert {e.video_id[-1] for e in RefCocoStorage(root, UNC, "train").expressions()} == {"7"}
    with pytest.raises(UserError, match="no sentences in the split 'train'"):
        RefCocoStorage(root, both, "train")
    refs.append({**refs[2], "image_id": 9, "ann_id": 4, "sentences": [{"sent_id": 99, "sent": "a third"}]})
    path.write_bytes(pickle.dumps(refs, protocol=2))
    instances = json.loads((root / "refcocog" / "instances.json").read_text())
    instances["images"].append({**instances["images"][0], "id": 9, "file_name": "COCO_train2014_9.jpg"})
    instances["annotations"].append({**instances["annotations"][0], "id": 4})
    (root / "refcocog" / "instances.json").write_text(json.dumps(instances))
    storage = RefCocoStorage(root, both, "train")
    assert [e.key for e in storage.expressions()] == [("COCO_train2014_9", "refcocog_99")]
    (note,) = storage.notes
    assert "dropped 2 training images" in note and "1 remain" in note
    assert "refcoco/unc: 2 objects with 4 sentences" in note
    assert "refcocog/umd: 2 objects with 4 sentences" in note
    assert not RefCocoStorage(root, both, "val").notes


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [["a"] * 6],
        [[float("nan")] * 6],
        7,
        None,
        [7],
        {"size": [40]},
    ],
)
def test_segmentations_that_are_none(root, segmentation):
    path = root / "refcoco" / "instances.json"
    instances = json.loads(path.read_text())
    instances["annotations"][0]["segmentation"] = segmentation
    path.write_text(json.dumps(instances))
    with pytest.raises(UserError, match="refcoco"):
        RefCocoStorage(root, UNC, "train")


def test_datasets_over_the_same_images_stay_apart(root):
    storage = RefCocoStorage(root, [*UNC, "refcocog/umd"], "train")
    keys = [expression.key for expression in storage.expressions()]
    assert len(keys) == 8 == len(set(keys))


def test_config_builds_clips_of_one_frame(root):
    cfg = OmegaConf.load(CONFIG_DIR / "data" / "refcoco.yaml")
    cfg.root, cfg.datasets = str(root), UNC
    dataset = build_train_dataset(cfg, 64, 1, seed=0)
    assert len(dataset) == 4 and dataset[0].frames.shape == (1, 3, 43, 64) and dataset[0].masks.any()
    assert len(build_storage(cfg).expressions()) == 2
    (root / "train2014" / "COCO_train2014_000000000007.jpg").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of.*000000000007\.jpg"):
        build_train_dataset(cfg, 64, 1, seed=0)


def test_broken_data_are_named(root, tmp_path):
    with pytest.raises(UserError, match=r"nowhere/train2014 doesn't exist"):
        RefCocoStorage(tmp_path / "nowhere", UNC, "train")
    with pytest.raises(UserError, match=r"refs\(google\)\.p doesn't exist"):
        RefCocoStorage(root, ["refcoco/google"], "train")
    with pytest.raises(UserError, match="no sentences in the split 'testC'"):
        RefCocoStorage(root, UNC, "testC")
    (root / "refcoco" / "instances.json").write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(UserError, match="don't fit together"):
        RefCocoStorage(root, UNC, "train")
    refs = root / "refcoco" / "refs(unc).p"
    refs.write_bytes(refs.read_bytes()[:50])
    with pytest.raises(UserError, match=r"refs\(unc\)\.p can't be read"):
        RefCocoStorage(root, UNC, "train")


def test_a_pickle_cannot_run_code(root):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(root / "intruder"),)

    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([Payload()]))
    with pytest.raises(UserError, match="plain values"):
        RefCocoStorage(root, UNC, "train")
    assert not (root / "intruder").exists()
