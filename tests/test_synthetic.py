"""SynthRVOS: its bytes, its format, and whether its sentences are true, as masks and pixels show it."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from samwise.data.mevis import MeViSStorage
from samwise.data.refcoco import RefCocoStorage
from samwise.errors import UserError
from samwise.synthrvos.grammar import grammar_corpus
from samwise.synthrvos.images import write_images
from samwise.synthrvos.mevis import write_split
from samwise.synthrvos.queries import KINDS, satisfied
from samwise.synthrvos.video import SyntheticVideo, VideoSettings, make_video
from samwise.synthrvos.vocabulary import COLOURS, paint

SHORT = VideoSettings(frames=(18, 20))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synth")
    write_split(root, "train", 8, seed=3, settings=SHORT)
    write_split(root, "valid", 2, seed=3, settings=SHORT)
    return root


@pytest.fixture(scope="module")
def videos() -> list[SyntheticVideo]:
    return [make_video(12, "train", index, SHORT) for index in range(20)]


def test_same_seed_same_bytes(tree: Path, tmp_path: Path) -> None:
    """Whatever the number of processes; another seed or split shares nothing."""
    write_split(tmp_path, "train", 8, seed=3, settings=SHORT, workers=2)  # from 8 on in processes
    assert files(tmp_path / "train") == files(tree / "train")
    write_split(tmp_path / "other", "train", 2, seed=4, settings=SHORT)
    images = {name for name in files(tree / "train") if name.endswith(".jpg")}
    first, other = files(tree / "train"), files(tmp_path / "other/train")
    assert not any(first[name] == other.get(name) for name in images)


def test_mevis_format(tree: Path) -> None:
    meta = json.loads((tree / "train/meta_expressions.json").read_text())["videos"]
    masks = json.loads((tree / "train/mask_dict.json").read_text())
    assert len(meta) == 8
    for video_id, video in meta.items():
        folder = tree / "train/JPEGImages" / video_id
        assert sorted(path.stem for path in folder.iterdir()) == video["frames"]
        height, width = cv2.imread(str(folder / "00000.jpg")).shape[:2]
        for expression in video["expressions"].values():
            assert expression["kind"] in KINDS and len(expression["obj_id"]) == len(expression["anno_id"]) > 0
            for anno in expression["anno_id"]:
                rles = masks[str(anno)]
                assert len(rles) == len(video["frames"]) and any(rle is not None for rle in rles)
                for rle in rles:  # null where the object is absent, and only there
                    assert rle is None or (rle["size"] == [height, width] and coco.area(rle) > 0)
    assert not (tree / "valid/mask_dict.json").exists()
    assert len(MeViSStorage(tree, "train").expressions()) == sum(len(v["expressions"]) for v in meta.values())


def test_a_split_is_kept_or_refused(tree: Path) -> None:
    before = files(tree / "train")
    write_split(tree, "train", 8, seed=3, settings=SHORT)
    assert files(tree / "train") == before
    with pytest.raises(UserError, match="overwrite=true"):
        write_split(tree, "train", 8, seed=5, settings=SHORT)
    assert files(tree / "train") == before


def test_overwriting_replaces_only_what_was_made_here(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 2, seed=0, settings=SHORT)
    write_split(tmp_path, "train", 1, seed=1, settings=SHORT, overwrite=True)
    assert [path.name for path in (tmp_path / "train/JPEGImages").iterdir()] == ["train_00000"]
    foreign = tmp_path / "valid_u/mask_dict.json"
    foreign.parent.mkdir()
    foreign.write_text("{}")
    with pytest.raises(UserError, match="valid_u"):
        write_split(tmp_path, "valid_u", 1, settings=SHORT, overwrite=True)
    assert files(foreign.parent) == {"mask_dict.json": b"{}"}


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / f".train.{2**22 + 1}.tmp/JPEGImages").mkdir(parents=True)  # no process has such an id
    write_split(tmp_path, "train", 1, settings=SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_an_interrupted_split_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("samwise.synthrvos.mevis._write_annotations", fail)
    with pytest.raises(KeyboardInterrupt):
        write_split(tmp_path, "train", 2, settings=SHORT)
    assert not list(tmp_path.iterdir())


@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), index=st.integers(0, 1000))
def test_sentences_are_true_of_their_targets_only(seed: int, index: int) -> None:
    video = make_video(seed, "train", index, SHORT)
    texts = Counter(statement.text for statement in video.statements)
    assert max(texts.values()) == 1
    for statement in video.statements:
        assert satisfied(statement.query, video.world) == list(statement.targets)
        assert video.masks[:, list(statement.targets)].any()


def test_every_kind_is_there(videos: list[SyntheticVideo]) -> None:
    counts = Counter(statement.query.kind for video in videos for statement in video.statements)
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 0.05 * sum(counts.values())


def test_chosen_kinds_and_motions_are_all_that_is_said() -> None:
    settings = VideoSettings(frames=(18, 20), kinds=("motion", "multiple"), motions=("left", "still"))
    said = [s.query for index in range(6) for s in make_video(1, "train", index, settings).statements]
    assert {query.kind for query in said} == {"motion", "multiple"}
    does = {query.clause.value for query in said if query.clause and query.clause.name == "does"}
    assert does and does <= {"left", "still"}


def test_kinds_and_motions_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    for wrong, word in (
        ({"kinds": ("looks",)}, "kinds"),
        ({"kinds": ()}, "kinds"),
        ({"motions": ("jump",)}, "motions"),
    ):
        with pytest.raises(UserError, match=f"{word}=.*choose some of"):
            write_split(tmp_path / "data", "train", 1, settings=VideoSettings(**wrong))
    with pytest.raises(UserError, match="images need one of appearance"):
        write_images(tmp_path / "data", 1, settings=VideoSettings(kinds=("motion",)))
    assert not list(tmp_path.glob("data/*"))


def test_data_made_before_kinds_could_be_chosen_is_known() -> None:
    assert not {"kinds", "motions"} & set(VideoSettings().to_dict())
    assert VideoSettings(kinds=("motion",)).to_dict()["kinds"] == ["motion"]


def test_colours_are_what_the_pixels_show(videos: list[SyntheticVideo]) -> None:
    checked = 0
    for video in videos:
        for statement in video.statements:
            for target in statement.targets:
                looks = video.world.looks[target]
                if looks.texture != "plain" or statement.query.noun.colour is None:
                    continue
                frame = int(video.masks[:, target].sum((1, 2)).argmax())
                inner = cv2.erode(video.masks[frame, target].astype(np.uint8), np.ones((3, 3))).astype(bool)
                pixels = np.median(video.frames[frame][inner], 0)
                distance = {name: np.abs(pixels - paint(name)[0]).sum() for name in COLOURS}
                assert min(distance, key=distance.get) == statement.query.noun.colour
                checked += 1
    assert checked > 20


def centres(mask: np.ndarray) -> np.ndarray:
    """(T, 2) x and y of a (T, H, W) mask's centre, NaN where it is empty."""
    return np.array([np.argwhere(m).mean(0)[::-1] if m.any() else (np.nan, np.nan) for m in mask])


def test_straight_motion_is_seen_in_the_masks(videos: list[SyntheticVideo]) -> None:
    axis = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}
    checked = 0
    for video in videos:
        for statement in video.statements:
            clause = statement.query.clause
            if statement.query.kind != "motion" or clause is None or clause.value not in axis:
                continue
            side, sign = axis[clause.value]
            (target,) = statement.targets
            path = centres(video.masks[:, target])[:, side]
            seen = path[~np.isnan(path)]
            assert sign * (seen[-1] - seen[0]) > 5, statement.text
            checked += 1
    assert checked >= 2


def test_entering_and_leaving_are_seen_in_the_masks(videos: list[SyntheticVideo]) -> None:
    for video in videos:
        for statement in video.statements:
            if statement.query.kind in ("entering", "leaving") and len(statement.targets) == 1:
                seen = video.masks[:, statement.targets[0]].any((1, 2))
                assert seen[-1 if statement.query.kind == "entering" else 0], statement.text
                assert not seen[0 if statement.query.kind == "entering" else -1], statement.text


def test_occluded_targets_vanish_and_come_back(videos: list[SyntheticVideo]) -> None:
    for video in videos:
        for statement in video.statements:
            if statement.query.kind == "occluded":
                seen = video.masks[:, statement.targets[0]].any((1, 2))
                hidden = np.flatnonzero(~seen)
                assert len(hidden) and seen[: hidden[0]].any() and seen[hidden[-1] :].any(), statement.text


def test_late_motion_cannot_be_told_in_the_first_third(videos: list[SyntheticVideo]) -> None:
    """Until then the masks of a twin take the same course; later on, masks or pixels tell the two apart."""
    checked = 0
    for video in videos:
        for statement in video.statements:
            if statement.query.kind != "late_motion":
                continue
            (target,) = statement.targets
            third, looks = video.world.frames // 3, video.world.looks
            paths = [centres(video.masks[:, k]) for k in range(video.world.count)]
            areas = video.masks.sum((2, 3))
            twins = [
                k
                for k in range(video.world.count)
                if k != target
                and looks[k] == looks[target]
                and np.allclose(
                    paths[k][:third] - paths[k][0], paths[target][:third] - paths[target][0], atol=1.5
                )
                and np.allclose(areas[:third, k], areas[:third, target], rtol=0.15)
            ]
            assert twins, statement.text
            assert any(video.world.alike_until(target, k) < video.world.frames for k in twins), statement.text
            checked += 1
    assert checked >= 5


def test_image_format(tmp_path: Path) -> None:
    """As RefCOCO's published files: the same loader reads them."""
    write_images(tmp_path, 20, seed=1)
    with (tmp_path / "images/refcoco/refs(unc).p").open("rb") as file:
        references = pickle.load(file)
    keys = {"ref_id", "ann_id", "image_id", "category_id", "file_name", "split", "sentences", "sent_ids"}
    assert references and all(keys <= set(reference) for reference in references)
    assert {reference["split"] for reference in references} == {"train", "val", "testA", "testB"}
    storage = RefCocoStorage(tmp_path / "images", ["refcoco/unc"], "train")
    for expression in storage.expressions():
        assert expression.kind in ("appearance", "position", "relation")
        assert storage.masks(expression, [0]).any()


def test_images_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_images(tmp_path / str(workers), 10, seed=1, workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_the_grammar_is_small() -> None:
    corpus = grammar_corpus(3000, seed=1)
    words = {word.strip(",.'") for sentence in corpus for word in sentence.lower().split()}
    assert 100 < len(words) < 300 and corpus == grammar_corpus(3000, seed=1)
