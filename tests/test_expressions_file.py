"""``meta_expressions.json``: whatever is in it is read rightly or refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samwise.data.expressions_file import is_file_name, read_expressions
from samwise.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.text(max_size=6)
EXPRESSION = st.fixed_dictionaries(
    {"exp": st.text(max_size=12) | JSON},
    optional={"obj_id": JSON, "anno_id": st.lists(st.integers()) | JSON, "kind": JSON, "audio": JSON},
)
VIDEO = st.fixed_dictionaries(
    {
        "frames": st.lists(NAMES, max_size=4) | JSON,
        "expressions": st.dictionaries(NAMES, EXPRESSION, max_size=3) | JSON,
    }
)


def written(folder: Path, value: object) -> Path:
    path = folder / "meta_expressions.json"
    path.write_text(json.dumps(value))
    return path


@given(st.fixed_dictionaries({"videos": st.dictionaries(NAMES, VIDEO, max_size=2)}) | JSON)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = written(tmp_path_factory.getbasetemp(), value)
    try:
        videos = read_expressions(path)
    except UserError as error:
        assert "meta_expressions.json" in str(error)
        return
    for video_id, video in videos.items():
        listed = value["videos"][video_id]["frames"]
        assert sorted(video.frames) == sorted(listed)
        assert [listed[place] for place in video.listed_at] == video.frames
        for expression in video.expressions:
            expression.text.encode()
            assert expression.text.strip() and is_file_name(expression.expression_id)


def entry(**change: object) -> dict:
    video = {"frames": ["0", "1"], "expressions": {"0": {"exp": "a dog", "obj_id": "1"}}}
    return {"videos": {"v": {**video, **change}}}


@pytest.mark.parametrize(
    "text",
    [
        "一只正在跳跃的狗",
        "الكلب الذي يقفز",
        "कुत्ता कूद रहा है",
        "🐕 → 🏠",
        "un chien naïf",
        "a\u00a0dog",
        "собака",
    ],
)
def test_sentences_in_any_script(tmp_path: Path, text: str) -> None:
    """With escapes or without."""
    for ascii_only in (True, False):
        path = tmp_path / "meta_expressions.json"
        value = entry(expressions={"0": {"exp": text}})
        path.write_text(json.dumps(value, ensure_ascii=ascii_only), encoding="utf-8")
        assert read_expressions(path)["v"].expressions[0].text == text


@pytest.mark.parametrize(
    ("frames", "ordered"),
    [
        (["00010", "00000", "00005"], ["00000", "00005", "00010"]),
        (["10", "9", "100"], ["9", "10", "100"]),
        (["frame_10", "frame_9"], ["frame_9", "frame_10"]),
        (["00000"], ["00000"]),
    ],
)
def test_frames_come_in_the_order_of_time(tmp_path: Path, frames: list, ordered: list) -> None:
    assert read_expressions(written(tmp_path, entry(frames=frames)))["v"].frames == ordered


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": [0, 5]}, "'videos/v/frames' must be a list of different frame names"),
        ({"frames": ["0", "0"]}, "different frame names"),
        ({"frames": ["0", "a\x00b"]}, "can't be a file's"),
        ({"expressions": [{"exp": "a dog"}]}, "'videos/v/expressions' should be a dict, not list"),
        ({"expressions": {"0": "a dog"}}, "lacks the key 'videos/v/expressions/0/exp'"),
        ({"expressions": {"0": {"exp": ["a dog"]}}}, "should be a str, not list"),
        ({"expressions": {"0": {"exp": "half \ud83d"}}}, "half a character"),
        ({"expressions": {"x" * 300: {"exp": "a dog"}}}, "can't be a file's"),
        ({"expressions": {"0": {"exp": "a dog", "anno_id": [None]}}}, "anno_id' should be ids"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_expressions(written(tmp_path, entry(**change)))
    assert message in str(caught.value)


def test_keys_of_later_versions_do_not_matter(tmp_path: Path) -> None:
    """MeViSv2 adds to MeViS's files."""
    value = entry(audio="v.mp3", expressions={"0": {"exp": "a dog", "audio": "v/0.mp3", "type": 3}})
    value["version"] = 2
    assert read_expressions(written(tmp_path, value))["v"].expressions[0].text == "a dog"
