"""Files from strangers, one trick each: refused in a sentence, at once, and with little memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samwise.data.davis_text import read_sentences
from samwise.data.expressions_file import read_expressions
from samwise.data.json_stream import json_items
from samwise.data.masks.index import MaskIndex
from samwise.data.masks.label_maps import read_label_map
from samwise.data.masks.rle import RleTable
from samwise.data.preparation.unpack import plan_unpacking, unpack, unpack_frames
from samwise.data.refcoco import RefCocoStorage
from samwise.data.refs_file import read_refs
from samwise.errors import UserError, shown
from samwise.io import read_json
from samwise.video.images import frame_size, read_frame
from samwise.video.mask_png import decode_mask_png
from tests.untrusted import bounded, read_or_refused, refusal

DEEP, LONG = "[" * 100_000, "1" * 5000


def nested(times: int) -> list:
    """A list of a few hundred bytes whose repr has 2^times parts."""
    value: list = []
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value", [nested(60), {"a": nested(60)}, 10**5000, "x" * 10**6, "a\ud800\n", object()], ids=shown
)
def test_whatever_is_quoted_stays_short(value: Any) -> None:
    with bounded():
        text = shown(value)
    assert len(text) < 100 and text.isprintable()


def test_messages_can_be_printed_and_written_anywhere(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    error = UserError("the file a\ud800\x1b[2J\u2028b: " + "x" * 100_000 + "; fetch it\nagain")
    print(error)
    (tmp_path / "m.json").write_text(json.dumps(str(error)), encoding="utf-8")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith(r"the file a\ud800\x1b[2J\u2028b: xxx")
    assert len(lines[0]) < 2100 and lines[0].endswith("; fetch it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # from a worker process


# JSON


def expressions(videos: str) -> str:
    return f'{{"videos": {videos}}}'


@pytest.mark.parametrize(
    "text, message",
    [
        (DEEP, "nested too deeply"),
        ('{"videos": ' + DEEP, "nested too deeply"),
        (expressions(LONG), "a number of 5000 digits"),
        ('{"videos": {}, "videos": {}}', "the name 'videos' comes twice"),
        (expressions('{"v": {"frames": ["0"], "frames": ["1"]}}'), "the name 'frames' comes twice"),
        (expressions(r'{"\ud800": {"frames": 3}}'), r"the name '\ud800'"),
        (expressions(r'{"a\nb": {"frames": 3}}'), r"the name 'a\nb'"),
        (expressions(r'{"a\u2028b": {"frames": 3}}'), r"the name 'a\u2028b'"),
        ("", "isn't valid JSON"),
        (expressions("NaN"), "should be a dict, not float"),
        ("NaN", "lacks the key 'videos'"),
        (json.dumps({"videos": {}}).encode("utf-16"), "isn't text in UTF-8"),
        (b"\xff\xfe", "isn't text in UTF-8"),
    ],
    ids=shown,
)
def test_json_that_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "meta_expressions.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    assert message in refusal(lambda: read_expressions(path), "meta_expressions.json")


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + b'{"a": [1]}')
    assert read_json(tmp_path / "a.json") == {"a": [1]}
    assert list(json_items(tmp_path / "a.json", chunk=3)) == [("a", [1])]


@pytest.mark.parametrize("value", [nested(8), "\ud800", ["\n"], [1e999], {"a": 1}, True], ids=shown)
def test_ids_of_another_kind(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "meta_expressions.json"
    sentence = {"exp": "a dog", "anno_id": value}
    path.write_text(json.dumps({"videos": {"v": {"frames": ["0"], "expressions": {"0": sentence}}}}))
    assert "should be ids, not" in refusal(lambda: read_expressions(path), "meta_expressions.json")


def test_a_kind_that_no_table_can_show_is_none(tmp_path: Path) -> None:
    from samwise.evaluation.figures import ExpressionScore
    from samwise.evaluation.metrics import Score
    from samwise.evaluation.report import Report

    path = tmp_path / "meta_expressions.json"
    sentences = {"0": {"exp": "a", "kind": "half \ud800"}, "1": {"exp": "b", "kind": "motion"}}
    path.write_text(json.dumps({"videos": {"v": {"frames": ["0"], "expressions": sentences}}}))
    found = read_expressions(path)["v"].expressions
    assert [e.kind for e in found] == [None, "motion"]
    Report([ExpressionScore(e, 1, Score(1, 1)) for e in found]).save(tmp_path)


def test_a_sentence_as_long_as_a_book(tmp_path: Path) -> None:
    path = tmp_path / "meta_expressions.json"
    sentences = {"0": {"exp": "dog " * 10_000}}
    path.write_text(json.dumps({"videos": {"v": {"frames": ["0"], "expressions": sentences}}}))
    assert "40,000 characters" in refusal(lambda: read_expressions(path), "meta_expressions.json")


# Masks


@pytest.mark.parametrize(
    "text, message",
    [
        (r'{"\ud800": []}', r"called '\ud800'"),
        (r'{"a\nb": []}', r"called 'a\nb'"),
        ('{"a": [], "a": [null]}', "the name 'a' comes twice"),
        ('{"a": [{"size": [4, 6], "size": [6, 4], "counts": ""}]}', "the name 'size' comes twice"),
        (f'{{"a": [{LONG}]}}', "a number of 5000 digits"),
        ('{"a": ' + DEEP, "nested too deeply"),
        ("\ufeff[]", "should be a JSON object"),
        ("{}" + " " * 100 + "x", "text after its end"),
    ],
    ids=shown,
)
def test_mask_files_that_are_refused(
    tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mask_dict.json").write_text(text, encoding="utf-8")
    assert message in refusal(lambda: MaskIndex(tmp_path / "mask_dict.json"), "mask_dict.json")
    assert [path.name for path in tmp_path.iterdir()] == ["mask_dict.json"]


def test_blanks_are_not_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(b" " * 20_000_000 + b"{" + b"\n" * 20_000_000 + b'"a": 1}')
    with bounded(gib=0.015):
        assert list(json_items(tmp_path / "m.json", 1 << 18)) == [("a", 1)]


def test_an_entry_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samwise.data.json_stream._LONGEST", 1000)
    (tmp_path / "m.json").write_text('{"a": "' + "x" * 100_000)
    assert "more than 1,000 characters" in refusal(
        lambda: list(json_items(tmp_path / "m.json", 100)), "m.json"
    )


def counts_of(numbers: list[int]) -> str:
    """COCO's compressed form of the numbers, which from the fourth on are differences."""
    out = []
    for index, number in enumerate(numbers):
        rest, more = number - (numbers[index - 2] if index > 2 else 0), True
        while more:
            group, rest = rest & 0x1F, rest >> 5
            more = rest not in (0, -1) or (rest == 0) == bool(group & 0x10)
            out.append(chr(48 + (group | 0x20 if more else group)))
    return "".join(out)


@pytest.mark.parametrize(
    "size, counts",
    [
        ([40, 60], counts_of([1 << 53] * 2048 + [2400])),  # whose sum is 2^64 + 2400
        ([40, 60], counts_of([0, 1 << 33, 2400])),
        ([40, 60], counts_of([2400 + 5, -5])),
        ([40, 60], "P" * 9 + "0" + counts_of([2400])),  # nought, written in ten characters
        ([40, 60], counts_of([0, 2400]) + "\ud800"),
        ([40.7, 60.2], [0, 2400]),
        ("46", [0, 24]),
        ([True, 60], [0, 60]),
        ([40, 60], [0.0, 2400.0]),
        ([40, 60], [True, 2399]),
        ([float("inf"), 60], [0, 2400]),
        ([40, 60], [0, 2400, 1 << 32]),
    ],
    ids=shown,
)
def test_masks_that_would_be_wrong(size: Any, counts: Any) -> None:
    def union() -> np.ndarray:
        table = RleTable([("a", [{"size": size, "counts": counts}])], Path("mask_dict.json"))
        return table.decode_union(["a"], 1, [0], (40, 60))

    assert "the annotation 'a'" in refusal(union, "mask_dict.json").replace("of annotation", "the annotation")


def test_an_index_that_somebody_else_made(tmp_path: Path) -> None:
    path = tmp_path / "mask_dict.json"
    path.write_text('{"a": [null], "b": [null, null]}')
    made = MaskIndex(path).path

    def change(statement: str) -> None:
        connection = sqlite3.connect(made)
        connection.executescript(statement)
        connection.close()

    change("UPDATE tracks SET visible = 5 WHERE name = 'a'; UPDATE tracks SET ends = x'00' WHERE name = 'b'")
    for name, frames in (("a", 1), ("b", 2)):
        assert "delete it, and it will be made again" in refusal(
            lambda n=name, f=frames: MaskIndex(path).decode_union([n], f, [0], (4, 6)), made.name
        )
    # A view runs whatever it says, this one for ever: it is no index, and made anew.
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n)"
    change(
        f"DROP TABLE tracks; CREATE VIEW tracks AS {endless} SELECT 'a' AS name, x AS visible, x AS sizes, "
        "x AS ends, x AS counts FROM n WHERE x = 2"
    )
    with bounded():
        assert not MaskIndex(path).visible("a", 1).any()


def png(width: int, height: int, depth: int = 8, colour: int = 0, extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(bytes(min(width * height + height, 100_000)))
    parts = chunk(b"IHDR", header), extra and chunk(extra[:4], extra[4:]), chunk(b"IDAT", data)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"IEND\xaeB`\x82",
        png(6, 4)[:16] + png(6, 4)[-12:],
        png(0, 4),
        png(1 << 31, 1 << 31),
        png(1 << 26, 1),
        png(6, 4, depth=77),
        png(6, 4, colour=9),
        b"",
    ],
    ids=shown,
)
def test_pngs_that_are_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.png").write_bytes(data)
    refusal(lambda: decode_mask_png(data, "x.png"), "x.png")
    refusal(lambda: read_label_map(tmp_path / "x.png"), "x.png")


def test_a_large_comment_is_not_unpacked(tmp_path: Path) -> None:
    data = png(6, 4, extra=b"zTXtk\0\0" + zlib.compress(bytes(80_000_000), 1))
    (tmp_path / "x.png").write_bytes(data)
    for read in (lambda: decode_mask_png(data, "x.png"), lambda: read_label_map(tmp_path / "x.png")):
        with bounded(gib=0.05), pytest.raises(UserError, match=r"x\.png is damaged"):
            read()


@pytest.mark.parametrize("side", [9_000, 30_000, 65_500], ids=shown)
def test_a_small_jpeg_that_says_it_is_huge(tmp_path: Path, side: int) -> None:
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    (tmp_path / "x.jpg").write_bytes(data)
    for read in (read_frame, frame_size):
        with bounded(gib=0.1):
            assert str(side) in refusal(lambda: read(tmp_path / "x.jpg"), "x.jpg").replace(  # noqa: B023
                str(side**2), str(side)
            )


# RefCOCO


def ref(**change: Any) -> dict[str, Any]:
    sentences = [{"sent_id": 1, "sent": "the dog"}]
    return {"ann_id": 1, "image_id": 1, "split": "train", "sentences": sentences, **change}


def tuple_in_itself(times: int) -> bytes:
    """A pickle of a dictionary whose key is a tuple of 2^times parts: its hash takes for ever."""
    return b"\x80\x02})" + b"q\x00h\x00h\x00\x86" * times + b"K\x01s."


@pytest.mark.parametrize(
    "data, message",
    [
        ([ref(ann_id=nested(60))], "a list of 2 where a number is expected"),
        ([ref(split=nested(60))], "a list of 2 where a split's name is expected"),
        ([ref(sentences=[{"sent_id": 1, "sent": nested(60)}])], "a list of 2 where a sentence is expected"),
        (nested(60), "a list of 2 where a dictionary with 'ann_id' is expected"),
        ([ref(sentences=5)], "5 where sentences are expected"),
        ([ref(sentences=[{"sent_id": 10**5000, "sent": "x"}])], "an integer of 16610 bits"),
        ([ref(image_id=-1)], "-1 where a number is expected"),
        ([ref(split="\ud800\n")], r"'\ud800\n' where a split's name is expected"),
        ([ref(), ref(ann_id=2)], "the sentence 1 comes twice"),
        ([ref(sentences=[{"sent_id": 1, "sent": "half \ud800"}])], "half a character"),
        (tuple_in_itself(60), "keys aren't names or numbers"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "more than plain values"),
        (b"\x80\x02X" + struct.pack("<I", 1 << 31) + b"abc.", "can't be read"),
        (b"(" * 100_000 + b"l" * 99_999, "can't be read"),
        (b"", "can't be read"),
    ],
    ids=shown,
)
def test_refs_that_are_refused(tmp_path: Path, data: Any, message: str) -> None:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, 2))
    assert message in refusal(lambda: read_refs(path), "refs(unc).p")


def test_what_is_remembered_under_a_large_number_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(b"\x80\x02]r" + struct.pack("<I", 1 << 31) + b".")
    with bounded(gib=0.5):
        assert read_refs(path) == []


def test_a_list_that_is_there_a_million_times(tmp_path: Path) -> None:
    """Of 20,000 times the same 20,000 sentences the second one is refused, not the 400 millionth."""
    path = tmp_path / "refs(unc).p"
    same = ref(sentences=[{"sent_id": 1, "sent": "the dog"}] * 20_000)
    path.write_bytes(pickle.dumps([same] * 20_000, 2))
    assert "comes twice" in refusal(lambda: read_refs(path), "refs(unc).p")


def coco(root: Path, segmentation: Any, **image: Any) -> Callable[[], np.ndarray]:
    """Writes a RefCOCO of one object; the call gives its mask."""
    (root / "train2014").mkdir()
    (root / "refcoco").mkdir()
    Image.new("RGB", (60, 40)).save(root / "train2014/a.jpg")
    (root / "refcoco/refs(unc).p").write_bytes(pickle.dumps([ref()], 2))
    images = [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60, **image}]
    annotations = [{"id": 1, "segmentation": segmentation}]
    (root / "refcoco/instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))

    def mask() -> np.ndarray:
        storage = RefCocoStorage(root, ["refcoco/unc"], "train")
        return storage.masks(storage.expressions()[0], [0])

    return mask


SQUARE = [[10, 10, 20, 10, 20, 20, 10, 20]]


@pytest.mark.parametrize(
    "segmentation, image",
    [
        ([[0, 0, 1e9, 0, 1e9, 1e9]], {}),  # pycocotools would end the process with a segmentation fault
        ([[0, 0, 1e300, 0, 1e300, 1e300]], {}),
        ([[0, 0, 60_000, 60_000] * 20_000], {}),
        ([[0, 0, 5, 5, float("nan"), 3]], {}),
        ([[[1, 1], [2, 5], [9, 9], [9, 1], [3, 2], [1, 1]]], {}),
        ([["a", "b", "c", "d", "e", "f"]], {}),
        ("abcdef", {}),
        ([], {}),
        (None, {}),
        (SQUARE, {"height": float("inf")}),
        (SQUARE, {"height": 10**300}),
        (SQUARE, {"height": -5}),
        (SQUARE, {"height": 40.9}),
        (SQUARE, {"file_name": "\ud800"}),
        (SQUARE, {"file_name": ["a.jpg"]}),
    ],
    ids=shown,
)
def test_instances_that_are_refused(tmp_path: Path, segmentation: Any, image: dict[str, Any]) -> None:
    assert "don't fit together" in refusal(coco(tmp_path, segmentation, **image), "instances.json")


def test_two_images_with_one_id(tmp_path: Path) -> None:
    mask = coco(tmp_path, SQUARE)
    assert mask().sum() == 100
    path = tmp_path / "refcoco/instances.json"
    value = json.loads(path.read_text())
    value["images"] *= 2
    path.write_text(json.dumps(value))
    assert mask().sum() == 100  # the same one again
    value["images"][1] = {**value["images"][0], "file_name": "b.jpg"}
    path.write_text(json.dumps(value))
    assert "two different images have the id 1" in refusal(mask, "instances.json")


# Ref-DAVIS17 and Ref-YouTube-VOS


def test_a_line_of_quotes_takes_no_time(tmp_path: Path) -> None:
    (tmp_path / "annot.txt").write_text("v 1 " + '"' * 2_000_000)
    assert "line 1" in refusal(lambda: read_sentences(tmp_path / "annot.txt"), "annot.txt")


@pytest.mark.parametrize("objects", [None, "12", [1], {LONG: {}}, {"1": {}, "\n": {}}], ids=shown)
def test_objects_of_another_kind(tmp_path: Path, objects: Any) -> None:
    from samwise.data.ref_youtube_vos import RefYouTubeVosStorage

    (tmp_path / "train/Annotations").mkdir(parents=True)
    sentences = {"0": {"exp": "a dog", "obj_id": "1" if objects != {LONG: {}} else LONG}}
    (tmp_path / "meta_expressions/train").mkdir(parents=True)
    (tmp_path / "meta_expressions/train/meta_expressions.json").write_text(
        json.dumps({"videos": {"v": {"frames": ["0"], "expressions": sentences}}})
    )
    (tmp_path / "train/meta.json").write_text(json.dumps({"videos": {"v": {"objects": objects}}}))
    found = read_or_refused(lambda: RefYouTubeVosStorage(tmp_path, "train"), "meta.json")
    assert isinstance(found, RefYouTubeVosStorage) == (objects == {"1": {}, "\n": {}})


@pytest.mark.parametrize(
    "kept", ["{", '{"stamp": 0}', '{"videos": 3}', '{"videos": {"v": {"1": [9]}}}', DEEP], ids=shown
)
def test_a_broken_list_of_what_is_visible_is_made_again(tmp_path: Path, kept: str) -> None:
    from samwise.data.masks.palette import PaletteMasks

    (tmp_path / "Annotations/v").mkdir(parents=True)
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "Annotations/v/0.png")
    masks = PaletteMasks(tmp_path / "Annotations", {"v": ["0"]}, tmp_path / "list.json")
    assert masks.index() == {"v": {"1": [0]}}
    (path,) = tmp_path.glob("*.visible.json")
    stamp = json.loads(path.read_text())["stamp"]
    path.write_text(kept.replace('"videos"', f'"stamp": "{stamp}", "videos"'))
    again = PaletteMasks(tmp_path / "Annotations", {"v": ["0"]}, tmp_path / "list.json")
    with bounded():
        assert again.index() == {"v": {"1": [0]}}


# Zips and tars


def zipped(root: Path, *names: str) -> Callable[[], int]:
    with zipfile.ZipFile(root / "train.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")

    def unpacked() -> int:
        plan = plan_unpacking(root / "train.zip", root, {"train"})
        unpack(plan, root)
        return len(plan.todo)

    return unpacked


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".png", "é" * 125 + ".jpg", "a." + "x" * 250, "x" * 255], ids=shown
)
def test_names_as_long_as_they_may_be(tmp_path: Path, name: str) -> None:
    assert zipped(tmp_path, f"train/{name}")() == 1
    assert [path.name for path in (tmp_path / "train").iterdir()] == [name]


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "a/" * 1500 + "b", "a/" * 20_000 + "b"], ids=shown)
def test_names_that_are_too_long(tmp_path: Path, name: str) -> None:
    assert "a name that is too long" in refusal(zipped(tmp_path, f"train/{name}"), "train.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["train.zip"]


def test_a_file_that_is_a_folder_too(tmp_path: Path) -> None:
    assert "can't write" in refusal(zipped(tmp_path, "train/a", "train/a/b"), "train/a/b")


def test_versions_of_zip_that_are_not_known(tmp_path: Path) -> None:
    unpacked = zipped(tmp_path, "train/a")
    data = bytearray((tmp_path / "train.zip").read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 6 : at + 8] = (999).to_bytes(2, "little")
    (tmp_path / "train.zip").write_bytes(data)
    refusal(unpacked, "train.zip")


def tar_header(name: bytes, size: bytes) -> bytes:
    header = bytearray(512)
    header[: len(name)], header[124 : 124 + len(size)], header[156] = name, size, ord("0")
    header[257:265] = b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    "name, size",
    [(b"JPEGImages/v/0.jpg", b"\xff" * 10 + b"\xfc\x00"), (b"JPEGImages/v/\xff\n.jpg", b"0\0")],
    ids=shown,
)
def test_tars_that_are_refused(tmp_path: Path, name: bytes, size: bytes) -> None:
    """One entry has a size of -1024, so that the next one is itself."""
    path = tmp_path / "JPEGImages.tar"
    path.write_bytes(tar_header(name, size) + bytes(10240))
    refusal(lambda: unpack_frames(path), "JPEGImages.tar")


def test_a_tar_of_a_thousand_folders(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "JPEGImages.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("JPEGImages/" + "a/" * 1500 + "0.jpg"))
    assert "isn't a frame's" in refusal(lambda: unpack_frames(tmp_path / "JPEGImages.tar"), "JPEGImages.tar")


# What earlier runs left


def test_half_a_row_of_a_run_that_was_killed(tmp_path: Path) -> None:
    from samwise.training.monitor import Monitor

    rows = '{"step": 0}\n{"step": 1}\n{"step": 2}\n{"step": "3"}\n[]\n' + DEEP + '\n{"st'
    (tmp_path / "metrics.jsonl").write_text(rows)
    Monitor(tmp_path, 1).close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 0}\n{"step": 1}\n'


def test_folders_beside_checkpoints(tmp_path: Path) -> None:
    from samwise.training.checkpoints import Checkpoints

    for name in ("step_old", "step_000002", "step_", "step_000010"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert [path.name for path in Checkpoints(tmp_path, 3).all()] == ["step_000002", "step_000010"]


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"position": [1]},
        {"position": {"steps": 1}},
        {"position": {"step": "1"}, "optimizer": {}, "scaler": {}},
        {"position": {"step": -1}, "optimizer": {}, "scaler": {}},
        {"position": {"step": 1, "contract": 3}, "optimizer": {}, "scaler": {}},
        {"position": {"step": 1}, "optimizer": [], "scaler": {}},
        {"position": {"step": 1}, "optimizer": {}},
    ],
    ids=str,
)
def test_training_states_that_are_none(tmp_path: Path, state: dict) -> None:
    from samwise.training.checkpoints import Position, _position

    assert _position({"position": {"step": 1}, "optimizer": {}, "scaler": {}}, tmp_path) == Position(1)
    refusal(lambda: _position(state, tmp_path), "training.pt")


@pytest.mark.parametrize(
    "metadata", [{}, {"step": "1"}, {"step": "x", "J&F": "0.5"}, {"step": "1", "J&F": "?"}]
)
def test_a_best_that_is_of_no_run(tmp_path: Path, metadata: dict[str, str]) -> None:
    import torch
    from safetensors.torch import save_file

    from samwise.training.checkpoints import Checkpoints
    from samwise.weights.metadata import CONFIG_KEY

    save_file({"a": torch.ones(1)}, tmp_path / "best.safetensors", {CONFIG_KEY: "{}", **metadata})
    refusal(lambda: Checkpoints(tmp_path, 3)._best_until(5), "best.safetensors")


@pytest.mark.parametrize(
    "value",
    [
        "[1]",
        '{"settings": [1]}',
        '{"settings": {"predictions": "a\\u0000"}}',
        json.dumps({"settings": {"predictions": "x" * 20_000}}),
        "3",
    ],
    ids=shown,
)
def test_scores_that_name_no_predictions(tmp_path: Path, value: str) -> None:
    from samwise.evaluation.protocols import find_predictions

    (tmp_path / "scores.json").write_text(value)
    assert "are gone" in refusal(lambda: find_predictions(tmp_path), "scores.json")


@pytest.mark.parametrize("value", ["[1]", "{}", '{"identity": 1, "config": 2}'], ids=shown)
def test_records_of_steps_that_are_none(tmp_path: Path, value: str) -> None:
    from samwise.ablation.step import RECORD, Step

    (tmp_path / RECORD).write_text(value)
    assert "isn't the record of a step" in refusal(Step("a", tmp_path, [], {}).check, RECORD)


def test_a_lock_that_says_nonsense() -> None:
    from samwise.running.locking import _holder

    assert _holder(DEEP) == _holder("[]") == "another process"


def test_half_written_files_have_short_names(tmp_path: Path) -> None:
    from samwise.io import write_json

    for name in ("x" * 255, "x" * 250 + ".json", "é" * 120 + ".json"):
        write_json(tmp_path / name, 1)
    assert len(os.listdir(tmp_path)) == 3
    assert "too long" in refusal(lambda: write_json(tmp_path / ("x" * 256), 1), "can't write")
