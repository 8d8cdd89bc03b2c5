"""Long synthetic videos: what their records say is what the masks show, and sentences mean what they say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from samwise.data.mevis import MeViSStorage
from samwise.errors import UserError
from samwise.evaluation.records import read_recorded
from samwise.synthrvos.long.sentences import LONG_KINDS, NO_TARGET
from samwise.synthrvos.long.truth import satisfied
from samwise.synthrvos.long.video import LONGEST, LongVideo, make_long_video
from samwise.synthrvos.mevis import write_split
from samwise.synthrvos.video import SHORTEST, VideoSettings
from samwise.synthrvos.vocabulary import LARGE, SMALL
from tests.programs import run_program
from tests.test_synthetic import files

LONG = VideoSettings(length=120)


@pytest.fixture(scope="module")
def videos() -> list[LongVideo]:
    return [make_long_video(10, "valid_u", index, LONG) for index in range(10)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("long")
    write_split(root, "valid_u", 2, seed=3, settings=LONG)
    return root


def seen(video: LongVideo, targets: object) -> list[bool]:
    """In which frames a pixel of the targets is to be seen."""
    return [bool(video.masks[t, list(targets)].any()) for t in range(len(video.frames))]  # type: ignore[call-overload]


def absences(there: list[bool]) -> list[tuple[int, int]]:
    """(first frame, length) of each span of False between two True, counted frame by frame."""
    found, last = [], None
    for t, shows in enumerate(there):
        if shows:
            if last is not None and t - last > 1:
                found.append((last + 1, t - last - 1))
            last = t
    return found


def test_recorded_absences_are_those_of_the_masks(videos: list[LongVideo]) -> None:
    causes = set()
    for video in videos:
        for said, record in zip(video.statements, video.records, strict=True):
            there = seen(video, said.targets)
            assert [(a, n) for a, n, _ in record["absences"]] == absences(there), said.text
            if said.targets:
                shown = [t for t, shows in enumerate(there) if shows]
                assert (record["first"], record["last"]) == (shown[0], shown[-1])
            causes |= {cause for _, _, cause in record["absences"]}
            assert all(length <= LONGEST for _, length, _ in record["absences"])
    assert causes == {"away", "hidden", "cut"}


def test_a_cut_shows_another_scene_and_comes_back(videos: list[LongVideo]) -> None:
    cuts = [(video, *cut) for video in videos for cut in video.cuts]
    assert len(cuts) >= 2
    for video, first, end in cuts:
        before, after = video.frames[first - 1].astype(float), video.frames[end].astype(float)
        assert 2 * abs(before - after).mean() < abs(before - video.frames[first]).mean()
        count = video.world.count  # of the scene's own objects
        assert not video.masks[first:end, :count].any() and video.masks[first:end, count:].any()
        assert not video.masks[:first, count:].any() and not video.masks[end:, count:].any()


def test_look_alikes_come_in_while_the_target_is_away(videos: list[LongVideo]) -> None:
    twins = 0
    for video in videos:
        for said, record in zip(video.statements, video.records, strict=True):
            there = seen(video, said.targets)
            for other in record["look_alikes"]:
                enters = seen(video, [other["object"]]).index(True)
                gone = any(first <= enters < first + length for first, length in absences(there))
                assert (other["enters"], other["while_away"]) == (enters, gone), said.text
                assert other["object"] not in said.targets
                looks = [video.looks[k] for k in (other["object"], *said.targets)]
                twins += gone and len(set(looks)) == 1
    assert twins >= 2  # that look exactly like the target


def test_sentences_are_true_of_their_targets_alone(videos: list[LongVideo]) -> None:
    """In the cuts' scene nothing is even called so."""
    for video in videos:
        assert len({said.text for said in video.statements}) == len(video.statements)
        for said in video.statements:
            assert satisfied(said.query, video.world) == list(said.targets), said.text
            noun, elsewhere = said.query.noun, video.looks[video.world.count :]
            for looks in elsewhere:
                words = (
                    (noun.shape, looks.shape),
                    (noun.colour, looks.colour),
                    (noun.texture, looks.texture),
                )
                named = all(word in (None, truth) for word, truth in words)
                assert not named or noun.size is not None, said.text


def test_some_sentences_have_no_target(videos: list[LongVideo]) -> None:
    """By appearance no object of the video fits them; by what else is said, none of that name."""
    clauses = 0
    for video in videos:
        nobody = [said for said in video.statements if not said.targets]
        assert nobody and all(said.query.kind == NO_TARGET for said in nobody)
        for said in nobody:
            noun, clause = said.query.noun, said.query.clause
            clauses += clause is not None
            for k, looks in enumerate(video.looks[: video.world.count] if clause is None else ()):
                words = (
                    (noun.shape, looks.shape),
                    (noun.colour, looks.colour),
                    (noun.texture, looks.texture),
                )
                sizes = video.world.diameter[k] / video.world.unit
                low, high = SMALL if noun.size == "small" else LARGE
                fits = noun.size is None or low * 0.97 <= sizes.min() and sizes.max() <= high * 1.03
                assert not (fits and all(word in (None, truth) for word, truth in words)), said.text
    assert clauses


def test_some_become_true_late(videos: list[LongVideo]) -> None:
    """Up to then an exact twin does the same."""
    checked = 0
    for video in videos:
        for said, record in zip(video.statements, video.records, strict=True):
            if said.query.kind == "late_motion" and said.query.clause.name == "starts":  # type: ignore[union-attr]
                onset = video.world.onsets[said.targets[0]]
                cut = sum(end - first for first, end in video.cuts if first <= onset)  # type: ignore[operator]
                assert record["true_from"] == onset + cut >= 0.3 * len(video.frames)  # type: ignore[operator]
                assert "true late" in record["events"]
                checked += 1
            elif said.targets and said.query.clause is None:
                assert record["true_from"] == seen(video, said.targets).index(True)
    assert checked


def test_some_change_slowly(videos: list[LongVideo]) -> None:
    events = {event for video in videos for record in video.records for event in record["events"]}
    assert {"changes size", "changes shade"} & events
    for video in videos:
        steps = np.abs(np.diff(np.log(video.world.diameter), axis=1))
        for said, record in zip(video.statements, video.records, strict=True):
            if "changes size" in record["events"] and len(said.targets) == 1:
                total = steps[said.targets[0]].sum()
                assert total > np.log(1.1) and steps[said.targets[0]].max() < 0.05


def test_the_form_is_mevis(tree: Path, tmp_path: Path) -> None:
    storage = MeViSStorage(tree, "valid_u")
    videos = {f"valid_u_{index:05d}": make_long_video(3, "valid_u", index, LONG) for index in range(2)}
    recorded = read_recorded(tree / "valid_u/events.json")
    assert {e.kind for e in storage.expressions()} <= set(LONG_KINDS)
    for expression in storage.expressions():
        video = videos[expression.video_id]
        number = int(expression.expression_id)
        said, record = video.statements[number], video.records[number]
        assert expression.text == said.text and expression.kind == said.query.kind
        assert storage.no_target(expression) == (not said.targets)
        masks = storage.masks(expression, range(len(video.frames)))
        assert np.array_equal(masks, video.masks[:, list(said.targets)].any(1))
        assert (expression.key in recorded) == bool(said.targets)
        if said.targets:
            longest = max((length for _, length, _ in record["absences"]), default=0)
            assert recorded[expression.key].absence == longest
    saved = json.loads((tree / "valid_u/events.json").read_text())["videos"]
    assert {name: video["frames"] for name, video in saved.items()} == {
        name: len(video.frames) for name, video in videos.items()
    }
    assert all(108 <= video["frames"] <= 132 for video in saved.values())
    # As in MeViS, what a server holds isn't beside the sentences.
    write_split(tmp_path, "valid", 1, seed=3, settings=LONG)
    assert (tmp_path / "valid/truth/events.json").is_file() and not (tmp_path / "valid/events.json").exists()


def test_same_seed_same_bytes(tree: Path, tmp_path: Path) -> None:
    write_split(tmp_path, "valid_u", 2, seed=3, settings=LONG)
    written = {name: data for name, data in files(tree / "valid_u").items() if not name.endswith(".sqlite")}
    assert files(tmp_path / "valid_u") == written  # but for the index that readers put beside the masks
    first, other = make_long_video(3, "valid_u", 0, LONG), make_long_video(4, "valid_u", 0, LONG)
    train = make_long_video(3, "train", 0, LONG)
    assert all(not np.array_equal(first.frames[0], video.frames[0]) for video in (other, train))


def test_short_videos_are_what_they_were(tmp_path: Path) -> None:
    write_split(tmp_path, "valid_u", 2, seed=0)
    found = [
        hashlib.sha256((tmp_path / "valid_u" / name).read_bytes()).hexdigest()[:16]
        for name in ("meta_expressions.json", "mask_dict.json")
    ]
    assert found == ["9b49c20392af596f", "26c06406fcc301bd"]
    assert not (tmp_path / "valid_u/events.json").exists()
    assert "length" not in (tmp_path / "valid_u/synth.json").read_text()


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"length=50: choose {SHORTEST}"):
        write_split(tmp_path / "d", "train", 1, settings=VideoSettings(length=50))
    with pytest.raises(UserError, match="leave out kinds"):
        write_split(tmp_path / "d", "train", 1, settings=VideoSettings(length=150, kinds=("motion",)))
    arguments = ["length=150", f"root={tmp_path / 'd'}"]
    done = run_program("tools/make_synthetic.py", *arguments, "format=davis")
    assert done.returncode == 2 and "MeViS's form only" in done.stderr
    assert not (tmp_path / "d").exists()


def test_the_program_makes_a_held_out_split_and_one_to_calibrate_on(tmp_path: Path) -> None:
    counts = ["train=1", "valid_u=2", "workers=1"]
    done = run_program("tools/make_synthetic.py", "length=120", f"root={tmp_path}", *counts)
    assert done.returncode == 0, done.stderr
    assert NO_TARGET in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "valid_u"]  # no `valid`
    assert len(json.loads((tmp_path / "valid_u/meta_expressions.json").read_text())["videos"]) == 2
