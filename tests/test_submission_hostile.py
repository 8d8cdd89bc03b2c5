"""Zips from strangers: nothing climbs out, nothing is unpacked, nothing is believed."""

# ruff: noqa: F811 (fixtures)
import zipfile
import zlib

import pytest

from samwise.errors import UserError
from samwise.evaluation.predictions import MAX_BYTES
from samwise.video.mask_png import encode_mask_png
from tests.conftest import HEIGHT, WIDTH
from tests.test_submission import MASK, NAME, check, pack, predictions, split  # noqa: F401


def raw_zip(path, entries):
    """Writes entries as they are: (ZipInfo or name, content)."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    return entry


def declared(height, width):
    """A small PNG whose header says that it is of this size; its checksums are right."""
    data = encode_mask_png(MASK)
    header = data[12:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[24:29]
    return data[:8] + data[8:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("../../etc/cron.d/x.png", b"", "climbs out"),
        ("/etc/passwd", b"", "climbs out"),
        ("C:/x.png", b"", "climbs out"),
        ("video_a\\..\\..\\x.png", b"", "climbs out"),
        ("video_a\\1\\00002.png", b"", "forward slashes"),
        ("video_a/1/", b"", "an entry for a folder"),
        ("video_a/1/00002.PNG", b"", "not asked for: video_a/1/00002.PNG"),
        ("video_a/1/\u202e.png", b"", "not asked for: 'video_a/1/\\u202e.png'"),
        (link(NAME), b"/etc/passwd", f"{NAME} is a link"),
        (NAME, declared(60_000, 60_000), "says that it is 60000 x 60000"),
        (NAME, declared(HEIGHT, WIDTH + 8), "is 68 x 40 instead of 60 x 40"),
        (NAME, encode_mask_png(MASK)[:-20] + bytes(8) + encode_mask_png(MASK)[-12:], "damaged"),
        (NAME, encode_mask_png(MASK) + b"more", "cut off or isn't a PNG"),
    ],
)
def test_hostile_entries(split, predictions, tmp_path, name, content, message):
    pack(predictions, split, tmp_path / "good.zip")
    with zipfile.ZipFile(tmp_path / "good.zip") as archive:
        entries = [(entry, archive.read(entry)) for entry in archive.namelist() if entry != NAME]
    raw_zip(tmp_path / "s.zip", [*entries, (name, content)])
    with pytest.raises(UserError) as caught:
        check(tmp_path / "s.zip", split)
    assert message in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.zip", "mevis", "predictions", "s.zip"]


def patched(path, change):
    """Changes a zip's bytes; its central directory has the entry of NAME at ``at``."""
    data = bytearray(path.read_bytes())
    at = data.rindex(NAME.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    change(data, at)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "offset, value, size, message",
    [
        (24, 3_000_000_000, 4, "3000000000 bytes; no mask has"),  # the size it unpacks to
        (8, 1, 2, "is encrypted"),
        (10, 14, 2, "compressed in an unusual way"),  # LZMA
        (16, 12345, 4, "Bad CRC-32"),
    ],
)
def test_zips_that_lie(split, predictions, tmp_path, offset, value, size, message):
    pack(predictions, split, tmp_path / "s.zip")

    def change(data, at):
        data[at + offset : at + offset + size] = value.to_bytes(size, "little")

    patched(tmp_path / "s.zip", change)
    with pytest.raises(UserError) as caught:
        check(tmp_path / "s.zip", split)
    assert message in str(caught.value) and NAME in str(caught.value)


def test_a_bomb_is_not_unpacked(split, predictions, tmp_path, monkeypatch):
    pack(predictions, split, tmp_path / "good.zip")
    with zipfile.ZipFile(tmp_path / "good.zip") as archive:
        entries = [(entry, archive.read(entry)) for entry in archive.namelist() if entry != NAME]
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*entries, (NAME, bytes(MAX_BYTES + 1))]:
            archive.writestr(name, content)
    read = []
    original = zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *a: read.append(a[1].filename) or original(*a))
    with pytest.raises(UserError, match=f"{NAME} says that it has {MAX_BYTES + 1} bytes"):
        check(tmp_path / "s.zip", split)
    assert len(read) == 29 and NAME not in read
