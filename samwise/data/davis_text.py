"""The sentences of Ref-DAVIS17: four text files, one line ``<video> <object id> "<sentence>"`` per object."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from samwise.data.expressions_file import check_sentence, is_file_name
from samwise.errors import UserError
from samwise.io import read_file

FOLDER = "davis_text_annotations"
# Two people, each asked twice: after seeing only the first frame, and after the whole video. This order is
# their usual numbering, 0 to 3.
FILES = (
    "Davis17_annot1.txt",
    "Davis17_annot1_full_video.txt",
    "Davis17_annot2.txt",
    "Davis17_annot2_full_video.txt",
)
KINDS = ("first_frame", "full_video", "first_frame", "full_video")

_LINE = re.compile(r"(?P<video>\S+)\s+(?P<object>[0-9]{1,3})(?:\s+|(?=[\"'“«]))(?P<text>.*)")
_LONGEST_LINE = 20_000  # characters
_QUOTES = "\"'“”„‟«»‘’`´"


@dataclass(frozen=True)
class DavisSentence:
    """One line."""

    video_id: str
    object_id: int
    text: str


def parse_line(line: str) -> DavisSentence | None:
    """Parses a line.

    Args:
        line: ``bike-packing 1 "a man riding a bicycle"``; quotes of any kind around the sentence, or none.

    Returns:
        What it says; None if it isn't such a line.
    """
    match = _LINE.fullmatch(line.strip().lstrip("\ufeff"))
    if not match:
        return None
    text = match["text"].strip()
    while len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:  # pairs around the sentence
        text = text[1:-1].strip()
    text = text.removeprefix('"').removesuffix('"').strip()  # half a pair
    return DavisSentence(match["video"], int(match["object"]), text)


def read_sentences(path: str | Path) -> list[DavisSentence]:
    """Reads one of the files.

    Args:
        path: In UTF-8, with lines that aren't taken as Latin-1; any line ends.

    Returns:
        Its sentences, in its order; empty lines are skipped.

    Raises:
        UserError: The file is missing, or a line isn't of that form.
    """
    data = read_file(
        path,
        "it is in davis_text_annotations.zip, see `python tools/prepare_data.py dataset=davis check=true`",
    )
    sentences = []
    for number, raw in enumerate(re.split(rb"\r\n|\n|\r", data), 1):
        line = _decode(raw).strip().lstrip("\ufeff")
        if not line:
            continue
        sentence = parse_line(line) if len(line) < _LONGEST_LINE else None
        if sentence is None or not is_file_name(sentence.video_id) or not 1 <= sentence.object_id <= 254:
            raise UserError(
                f'{path}, line {number}: {line[:60]!r} isn\'t <video> <object id> "<sentence>"; correct it '
                "or fetch the file again"
            )
        check_sentence(sentence.text, f"in line {number}", path)
        sentences.append(sentence)
    return sentences


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        windows = any(0x91 <= byte <= 0x97 for byte in raw)  # its typographic quotes, which Latin-1 lacks
        return raw.decode("cp1252", "replace") if windows else raw.decode("latin-1")
