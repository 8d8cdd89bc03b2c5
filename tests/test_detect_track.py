"""The comparison system: boxes from Grounding DINO or the truth, tracked by SAM 2's own predictor."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from samwise.config.composing import compose_model
from samwise.data.mevis import MeViSStorage
from samwise.data.types import Expression
from samwise.encoders.sam2_backbone import ABSENT_LOGIT, Sam2Backbone
from samwise.encoders.sam2_tracking import Sam2Tracker
from samwise.errors import UserError
from samwise.inference.dataset import DatasetInference
from samwise.inference.detector import GroundedDetector
from samwise.inference.runtime import RuntimeConfig
from samwise.inference.systems import SystemConfig, build_tracking, system_config
from samwise.inference.tracking import BoxTracking, DetectTrack, OracleBox, Start
from samwise.modeling.samwise import Samwise
from samwise.video.source import Frame
from samwise.weights.checkpoint import save_checkpoint
from tests.conftest import FRAMES, HEIGHT, WIDTH
from tests.test_scripts import run

CPU = torch.device("cpu")
REACH = 7  # frames that SAM 2 looks back
BOX, OTHER = np.array([6.0, 5, 40, 38]), np.array([30.0, 20, 80, 60])


@pytest.fixture(scope="module")
def model() -> Samwise:
    torch.manual_seed(0)
    sizes = ["model.canvas=64", "model.adapter.patch_sizes=[4,2,1]"]
    return Samwise.from_config(
        "tiny_scratch", [*sizes, f"++model.backbone.overrides.max_obj_ptrs_in_encoder={REACH}"]
    )


@pytest.fixture(scope="module")
def backbone(model: Samwise) -> Sam2Backbone:
    return model.backbone


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Grounding DINO of transformers at its smallest, with random weights, as a hub folder holds it."""
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    folder = tmp_path_factory.mktemp("detector")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "the", "red", "blue", "box", "boxes", "two"]
    (folder / "vocab.txt").write_text("\n".join(words + [chr(97 + k) for k in range(26)]))
    torch.manual_seed(0)
    swin = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )
    bert = BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=6,
        init_std=0.1,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    processor = GroundingDinoProcessor(
        GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}),
        BertTokenizerFast(str(folder / "vocab.txt")),
    )
    processor.save_pretrained(folder)
    return folder


def video(frames: int, height: int = 64, width: int = 90) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (frames, 5, 7, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(x).resize((width, height))) for x in small])


def frames_of(images: np.ndarray) -> list[Frame]:
    return [Frame(image) for image in images]


def test_detector_gives_boxes(detector_folder: Path) -> None:
    """The boxes that transformers' own calls give, best first, within the image, as many as asked for."""
    from transformers import AutoProcessor, GroundingDinoForObjectDetection

    image = video(1)[0]
    found = GroundedDetector(str(detector_folder), 0.0, None, CPU)(image, ["The red box.", "the blue box"])
    assert [boxes.shape for boxes in found] == [(6, 4)] * 2
    assert all((boxes >= 0).all() and (boxes <= [90, 64, 90, 64]).all() for boxes in found)
    assert not np.array_equal(found[0], found[1])  # it reads the sentence

    processor = AutoProcessor.from_pretrained(detector_folder)
    network = GroundingDinoForObjectDetection.from_pretrained(detector_folder).eval()
    inputs = processor(images=image, text="the red box.", return_tensors="pt")
    with torch.inference_mode():
        outputs = network(**inputs)
    given = (outputs, inputs["input_ids"], 0.0)  # the last by place: its name has changed in transformers
    expected = processor.post_process_grounded_object_detection(*given, target_sizes=[(64, 90)])[0]
    best = expected["boxes"][expected["scores"].argmax()].numpy().clip(0, [90, 64, 90, 64])
    np.testing.assert_allclose(found[0][0], best, atol=1e-3)

    one = GroundedDetector(str(detector_folder), 0.0, 1, CPU)(image, ["the red box"])[0]
    np.testing.assert_array_equal(one, found[0][:1])
    middle = float(expected["scores"].sort().values[2:4].mean())
    some = GroundedDetector(str(detector_folder), middle, None, CPU)(image, ["the red box"])[0]
    np.testing.assert_array_equal(some, found[0][:3])


def test_detector_that_is_not_there(tmp_path: Path, detector_folder: Path) -> None:
    with pytest.raises(UserError, match="Grounding DINO"):
        GroundedDetector(str(tmp_path), 0.3, 1, CPU)


def test_tracker_is_sam2s_own(backbone: Sam2Backbone, tmp_path: Path) -> None:
    """Frame by frame the logits of propagate_in_video on the whole video, of late objects too; bounded."""
    images = video(REACH + 4)
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.jpg", format="png")
    theirs = backbone.video_predictor()
    theirs.fill_hole_area = 0
    state = theirs.init_state(str(tmp_path))
    theirs.add_new_points_or_box(state, 0, obj_id=0, box=BOX)
    theirs.add_new_points_or_box(state, 0, obj_id=1, box=OTHER)
    expected = [logits[:, 0] for _, _, logits in theirs.propagate_in_video(state)]
    late = theirs.init_state(str(tmp_path))
    theirs.add_new_points_or_box(late, 3, obj_id=0, box=OTHER)
    from_third = [logits[:, 0] for _, _, logits in theirs.propagate_in_video(late)]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracker = Sam2Tracker(backbone.video_predictor(), len(images))
        for index, image in enumerate(images):
            new = {0: [BOX, OTHER], 3: [OTHER]}.get(index, [])
            logits, scores = tracker.step(image, new)
            assert len(logits) == len(scores) == (2 if index < 3 else 3)
            torch.testing.assert_close(logits[:2], expected[index], rtol=0, atol=1e-5)
            if index >= 3:
                torch.testing.assert_close(logits[2], from_third[index - 3][0], rtol=0, atol=1e-5)
    assert all(len(outputs["non_cond_frame_outputs"]) <= REACH for outputs in tracker._outputs())


def test_tracker_takes_masks_as_sam2_does(backbone: Sam2Backbone, tmp_path: Path) -> None:
    """Objects that enter as masks, at the start and later, beside one with a box."""
    images = video(5)
    mask = np.zeros(images[0].shape[:2], bool)
    mask[20:45, 30:60] = True
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.jpg", format="png")
    theirs = backbone.video_predictor()
    theirs.fill_hole_area = 0
    expected = []
    for start, given in ((0, {"box": BOX}), (0, {"mask": mask}), (3, {"mask": mask[::-1].copy()})):
        state = theirs.init_state(str(tmp_path))
        if "box" in given:
            theirs.add_new_points_or_box(state, start, obj_id=0, **given)
        else:
            theirs.add_new_mask(state, start, 0, torch.from_numpy(given["mask"]))
        expected.append({t: logits[0, 0] for t, _, logits in theirs.propagate_in_video(state)})

    tracker = Sam2Tracker(backbone.video_predictor(), len(images))
    for index, image in enumerate(images):
        boxes = [BOX] if index == 0 else []
        masks = {0: [mask], 3: [mask[::-1].copy()]}.get(index, [])
        logits, _ = tracker.step(image, boxes, masks)
        assert len(logits) == (2 if index < 3 else 3)
        for mine, of_sam2 in zip(logits, expected, strict=False):
            torch.testing.assert_close(mine, of_sam2[index], rtol=0, atol=1e-5)


def test_before_the_start_and_without_one_masks_are_empty(backbone: Sam2Backbone) -> None:
    images = video(5)
    tracking = BoxTracking(backbone, CPU)
    starts = [Start(2, np.stack([BOX, OTHER])), None, Start(0, BOX[None])]
    results = [result for _, result in tracking.track(frames_of(images), starts, 5)]
    assert [result.index for result in results] == list(range(5))
    for result in results:
        assert result.masks.shape == (3, 64, 90) and not result.cme_fired.any()
        assert not result.masks[1].any() and (result.logits[1] == ABSENT_LOGIT).all()
        assert result.masks[0].any() == (result.index >= 2 and result.masks[0].any())
        np.testing.assert_array_equal(result.masks, result.logits > 0)
    assert not results[0].masks[0].any() and not results[1].masks[0].any()
    # A sentence's mask is the union of its boxes' masks.
    one = [result for _, result in tracking.track(frames_of(images), [Start(2, BOX[None])], 5)]
    other = [result for _, result in tracking.track(frames_of(images), [Start(2, OTHER[None])], 5)]
    for joined, a, b in zip(results, one, other, strict=True):
        np.testing.assert_array_equal(joined.masks[0], a.masks[0] | b.masks[0])
    assert any(result.masks[0].any() for result in results)


class Detector:
    """Finds "early" at once, "late" from a given frame on, nothing else."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, image: np.ndarray, texts: list[str]) -> list[np.ndarray]:
        self.asked.append(list(texts))
        seen = len(self.asked)
        return [BOX[None] if t == "early" or (t == "late" and seen >= 3) else np.zeros((0, 4)) for t in texts]


@pytest.mark.parametrize(("frames", "step", "late"), [(1, 1, None), (3, 2, 4), (9, 1, 2)])
def test_later_frames_are_looked_at_for_what_is_missing(
    backbone: Sam2Backbone, monkeypatch: pytest.MonkeyPatch, frames: int, step: int, late: int | None
) -> None:
    detector = Detector()
    tracking = DetectTrack(backbone, detector, frames, step, CPU)  # type: ignore[arg-type]
    begun = []
    track = tracking.track
    monkeypatch.setattr(tracking, "track", lambda f, s, n: begun.append(s) or track(f, s, n))
    results = list(tracking.results(video(6), ["early", "late"]))
    assert [result.index for _, result in results] == list(range(6))
    assert detector.asked == [["early", "late"], *[["late"]] * (len(detector.asked) - 1)]
    assert len(detector.asked) == min(frames, 3)
    starts = [None if start is None else start.frame for start in begun[0]]
    assert starts == [0, late]
    np.testing.assert_array_equal(results[5][0].image, video(6)[5])


def test_sentences_are_checked(backbone: Sam2Backbone) -> None:
    tracking = DetectTrack(backbone, Detector(), 1, 1, CPU)  # type: ignore[arg-type]
    for texts in ([], "early", ["  "]):
        with pytest.raises(UserError, match="sentence"):
            next(tracking.results(video(1), texts))
    with pytest.raises(UserError, match="system=samwise"):
        BoxTracking(backbone, CPU, RuntimeConfig(compile="default"))


def test_oracle_takes_the_first_true_box(mevis_tree: Path, backbone: Sam2Backbone) -> None:
    oracle = OracleBox(backbone, MeViSStorage(mevis_tree, "valid_u"), CPU)
    starts = {key: oracle.start(Expression("video_a", key, "")) for key in "012"}
    assert [starts[key].frame for key in "012"] == [0, 2, 0]
    assert starts["0"].boxes.tolist() == [[4, 4, 17, 15]]
    assert starts["1"].boxes.tolist() == [[40, 8, 53, 19]]
    with pytest.raises(UserError, match="true masks"):
        OracleBox(backbone, MeViSStorage(mevis_tree, "valid"), CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "sam3"}, "choose one of"),
        ({"name": "detect_track"}, "system.detector=FOLDER"),
        ({"threshold": 1.5}, "threshold"),
        ({"frames": 0}, "system.frames=0"),
        ({"detectors": "x"}, "detectors"),
    ],
)
def test_wrong_settings(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        system_config(changes)
    assert system_config({"name": "samwise"}) == SystemConfig()


@pytest.mark.slow
def test_scripts(mevis_tree: Path, detector_folder: Path, model: Samwise) -> None:
    """oracle_box through infer.py, with its zip; detect_track through demo.py."""
    cwd = mevis_tree.parent
    save_checkpoint(model, cwd / "net.safetensors")
    infer = ["scripts/infer.py", "experiment=mevis", f"data.root={mevis_tree}", "device=cpu", "output=out"]
    infer += ["checkpoint=net.safetensors"]
    out = run(cwd, *infer, "system=oracle_box")
    assert "6 expressions segmented, 0 kept" in out and "memory was corrected" not in out
    assert (cwd / "out/mevis_valid_u.zip").is_file()
    masks = [cv2.imread(str(cwd / f"out/predictions/video_a/1/{k:05d}.png"), -1) for k in range(FRAMES)]
    assert masks[0].shape == (HEIGHT, WIDTH) and not masks[0].any() and not masks[1].any()
    settings = json.loads((cwd / "out/inference.json").read_text())
    assert settings["system"] == {"name": "oracle_box"}  # another system's masks never join these
    detect = ["system=detect_track", f"system.detector={detector_folder}", "system.threshold=0.0"]
    picture = mevis_tree / "train/JPEGImages/video_a"
    demo = ["scripts/demo.py", f"input={picture}", "text=the red box", "checkpoint=net.safetensors"]
    assert f"{FRAMES} frames" in run(cwd, *demo, *detect, "output=demo", "fps=5")


def test_a_dataset_through_the_one_inference(
    mevis_tree: Path, backbone: Sam2Backbone, tmp_path: Path
) -> None:
    """Every expression's masks in the results' own layout; what is there is kept."""
    storage = MeViSStorage(mevis_tree, "valid_u")
    tracking = DetectTrack(backbone, lambda image, texts: [BOX[None]] * len(texts), 1, 1, CPU)  # type: ignore
    for system, folder in ((tracking, "detect"), (OracleBox(backbone, storage, CPU), "oracle")):
        summary = DatasetInference(system, storage, tmp_path / folder, 1).run()
        assert (summary.segmented, summary.kept, summary.frames) == (6, 0, 6 * FRAMES)
        assert len(list((tmp_path / folder).rglob("*.png"))) == 6 * FRAMES
        assert DatasetInference(system, storage, tmp_path / folder, 1).run().kept == 6


def test_what_the_scripts_refuse(mevis_tree: Path) -> None:
    cfg = OmegaConf.create({"system": {"name": "oracle_box"}, "checkpoint": None, "runtime": {}})
    with pytest.raises(UserError, match="scripts/infer.py"):
        build_tracking(cfg, "cpu")
    cfg.model = compose_model("tiny_scratch").to_dict()
    with pytest.raises(UserError, match="model.backbone.checkpoint=FILE"):
        build_tracking(cfg, "cpu", MeViSStorage(mevis_tree, "valid_u"))
