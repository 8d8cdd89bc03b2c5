"""Mutations of small valid files: of their bytes, of the structure of what they hold, of a PNG's chunks."""

from __future__ import annotations

import copy
import json
import pickle
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

_BYTES = [
    *(b"", b"\0", b"\1", b" ", b"\n", b"\x7f", b"\x80", b"\xff", b"\xff" * 4, b"\xff" * 8, b"\0" * 4),
    *(
        b'"',
        b"'",
        b",",
        b":",
        b"[",
        b"]",
        b"{",
        b"}",
        b"[[[[",
        b'{"a":',
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-1",
    ),
    *(b"9" * 30, b"9" * 5000, b"\\ud800", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n"),
    *(b"../", b"/", b"\\", b"a" * 300, b"PK\1\2", b"PK\3\4", b"PK\5\6", b"IHDR", b"IEND", b"IDAT", b"PLTE"),
    # of pickles: a tuple doubled, a value remembered under a large number, an array, calls
    *(b")q\0" + b"h\0h\0\x86q\0" * 40, b"r\0\0\0\x40", b"\x96\0\0\0\0\0\1\0\0"),
    *(b"cos\nsystem\n", b"R", b"b", b"\x93"),
]


@st.composite
def mutated(draw: st.DrawFn, data: bytes, most: int = 4) -> bytes:
    """Bytes with up to ``most`` changes: bits, cuts, copies, and what parsers stumble over."""
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 1, 1, 2, 4, 8, 64, len(data)]))
        before, part, after = data[:at], data[at : at + length], data[at + length :]
        kind = draw(st.sampled_from(["set", "insert", "flip", "cut", "repeat", "end", "move"]))
        if kind == "set":
            data = before + draw(st.sampled_from(_BYTES)) + after
        elif kind == "insert":
            data = before + draw(st.sampled_from(_BYTES)) + part + after
        elif kind == "flip":
            data = before + bytes(x ^ 1 << draw(st.integers(0, 7)) for x in part[:4]) + part[4:] + after
        elif kind == "cut":
            data = before + after
        elif kind == "repeat":
            data = before + part * draw(st.sampled_from([2, 3, 50])) + after
        elif kind == "end":
            data = before
        else:
            data = after[:64] + before + part + after[64:]
    return data


def nested(times: int) -> list:
    """A list whose repr has 2^times parts."""
    value: list = []
    for _ in range(times):
        value = [value, value]
    return value


# What json.dumps can't write; these words stand for it.
_RAW = {
    "@deep": "[" * 50_000 + "]" * 50_000,
    "@deep object": '{"a":' * 900 + "1" + "}" * 900,
    "@less deep": "[" * 500 + "]" * 500,
    "@long": "1" * 5000,
    "@inf": "1e999",
    "@twice": '{"a": 1, "a": 2}',
}
_TEXTS = [
    "",
    " ",
    "\ud800",
    "a\nb",
    "\u2028",
    "\x1b[2J",
    "..",
    "a/b",
    "x" * 300,
    "x" * 20_000,
    "1" * 5000,
    "${a}",
]
_PLAIN = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**63,
    10**400,
    0.5,
    -0.0,
    float("nan"),
    [],
    {},
    [[]],
    [None],
    *_TEXTS,
]


def _places(node: Any, depth: int = 8) -> Iterator[tuple[Any, Any]]:
    """Every container with every key of it, not too deep: it may be one of those that don't end."""
    if isinstance(node, (dict, list)) and depth:
        for key in node if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from _places(node[key], depth - 1)


@st.composite
def mutated_tree(draw: st.DrawFn, value: Any, hostile: list[Any]) -> Any:
    """Lists and dictionaries with up to three changes: values, types, names, copies of other parts."""
    root, valid = [copy.deepcopy(value)], list(_places([value]))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(root))
        node, key = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(["value", "value", "type", "remove", "name", "copy", "repeat"]))
        if kind == "value":
            node[key] = copy.deepcopy(draw(st.sampled_from([*_PLAIN, *hostile])))
        elif kind == "type":
            old = node[key]
            node[key] = draw(st.sampled_from([[old], {"0": old}, [old] * 3, "0", 0, None]))
        elif kind == "remove" and node is not root:
            del node[key]
        elif kind == "name" and isinstance(node, dict):
            node[draw(st.sampled_from(_TEXTS))] = node.pop(key)
        elif kind == "copy":
            other, name = draw(st.sampled_from(valid))
            node[key] = copy.deepcopy(other[name])
        elif kind == "repeat" and isinstance(node, list):
            node.insert(key, node[key])
    return root[0]


@st.composite
def mutated_json(draw: st.DrawFn, value: Any) -> bytes:
    """A JSON file of something like ``value``."""
    text = json.dumps(draw(mutated_tree(value, [*_RAW])))
    for word, raw in _RAW.items():
        text = text.replace(json.dumps(word), raw)
    data = text.encode(draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16"])))
    return draw(mutated(data, 2)) if draw(st.integers(0, 3)) == 0 else data


@st.composite
def mutated_pickle(draw: st.DrawFn, value: Any) -> bytes:
    """A pickle of something like ``value``, of any protocol."""
    tree = draw(mutated_tree(value, [nested(60), 10**5000, (1, (2,)), b"\xff", {1: 2}, {1, 2}, slice(3)]))
    try:
        data = pickle.dumps(tree, draw(st.integers(0, 5)))
    except ValueError:  # the first protocols write numbers in digits, and Python refuses thousands of them
        data = pickle.dumps(tree, 2)
    return draw(mutated(data)) if draw(st.integers(0, 1)) else data


@st.composite
def mutated_png(draw: st.DrawFn, data: bytes) -> bytes:
    """A PNG with changes in its chunks, whose checksums are right again, so that decoders look further."""
    chunks, at = [], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : end - 4]))
        at = end
    for _ in range(draw(st.integers(1, 2))):
        index = draw(st.integers(0, len(chunks) - 1))
        name, content = chunks[index]
        kind = draw(st.sampled_from(["content", "pixels", "double", "drop", "name"]))
        if kind == "content":
            chunks[index] = name, draw(mutated(content, 2))
        elif kind == "pixels":
            with suppress(zlib.error):  # it isn't the pixels' chunk, or is changed already
                chunks[index] = name, zlib.compress(draw(mutated(zlib.decompress(content), 2)))
        elif kind == "double":
            chunks.insert(index, chunks[index])
        elif kind == "drop" and len(chunks) > 1:
            del chunks[index]
        elif kind == "name":
            chunks[index] = (
                draw(st.sampled_from([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"zTXt"])),
                content,
            )
    return data[:8] + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
