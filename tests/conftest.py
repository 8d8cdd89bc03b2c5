"""Shared fixtures: a tiny dataset in MeViS's release format."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import settings
from pycocotools import mask as coco_mask

os.environ["HF_HUB_OFFLINE"] = "1"  # no test downloads anything; else every look-up retries for a minute
# A busy machine isn't a failure, and the same code gives the same result each time. Inputs that nobody has
# tried yet: pytest --hypothesis-profile=explore
settings.register_profile("explore", deadline=None)
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")

# Whichever test forks first, its processes find everything imported.
multiprocessing.set_forkserver_preload(["tests.warm_process"])

HEIGHT, WIDTH, FRAMES = 40, 60, 5


@pytest.fixture(autouse=True)
def _hydra_as_it_was() -> Iterator[None]:
    """A test that imports sam2 itself initialises Hydra; the next one may start a program, which does too."""
    before = _hydra().hydra if "hydra" in sys.modules else None
    yield
    if "hydra" in sys.modules:
        _hydra().hydra = before


def _hydra() -> Any:
    from hydra.core.global_hydra import GlobalHydra

    return GlobalHydra.instance()


def rectangle(top: int, left: int, height: int = 12, width: int = 14) -> np.ndarray:
    """(HEIGHT, WIDTH) bool with a filled rectangle, cut at the border."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = True
    return mask


def encode(mask: np.ndarray) -> dict | None:
    """COCO RLE as in mask_dict.json; null where the object is absent."""
    if not mask.any():
        return None
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def write_split(folder: Path, with_masks: bool) -> None:
    """Two videos of two rectangles each: 0 moves right, 1 moves down and is absent in the first two."""
    videos, mask_dict = {}, {}
    for number, video_id in enumerate(("video_a", "video_b")):
        frames = [f"{i:05d}" for i in range(FRAMES)]
        tracks = [
            [rectangle(4 + 2 * number, 4 + 6 * i) for i in range(FRAMES)],
            [rectangle(8 * i - 8, 40) if i > 1 else rectangle(0, 0, 0, 0) for i in range(FRAMES)],
        ]
        images = folder / "JPEGImages" / video_id
        images.mkdir(parents=True)
        for i, name in enumerate(frames):
            image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            image[tracks[0][i]] = (30, 30, 220)
            image[tracks[1][i]] = (220, 60, 30)
            cv2.imwrite(str(images / f"{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        anno_ids = [2 * number, 2 * number + 1]
        expressions = {
            "0": {"exp": "The red box moving right", "obj_id": [0], "kind": "motion"},
            "1": {"exp": "the blue box", "obj_id": [1], "kind": "appearance"},
            "2": {"exp": "the two boxes", "obj_id": [1, 0], "kind": "multiple"},
        }
        for expression in expressions.values():
            expression["anno_id"] = [anno_ids[i] for i in expression["obj_id"]]
        if not with_masks:
            expressions = {key: {"exp": value["exp"]} for key, value in expressions.items()}
        videos[video_id] = {"expressions": expressions, "vid_id": number, "frames": frames}
        mask_dict |= {
            str(anno): [encode(mask) for mask in track] for anno, track in zip(anno_ids, tracks, strict=True)
        }
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    if with_masks:
        (folder / "mask_dict.json").write_text(json.dumps(mask_dict))


@pytest.fixture
def mevis_tree(tmp_path: Path) -> Path:
    """Root of a dataset: train, valid_u, valid of 2 videos each, 5 frames of 60 x 40, 3 sentences."""
    root = tmp_path / "mevis"
    for split, with_masks in (("train", True), ("valid_u", True), ("valid", False)):
        write_split(root / split, with_masks)
    return root


@pytest.fixture
def web() -> Iterator[tuple[str, dict[str, Any]]]:
    """A web server: what it serves under each path is bytes, or a function that writes to a file."""
    served: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = served.get(self.path)
            self.send_response(404 if content is None else 200)
            if isinstance(content, bytes):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                if callable(content):
                    content(self.wfile)
                elif content:
                    self.wfile.write(content)
            except OSError:  # the reader has gone
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page of :func:`page_address` has its files."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="session")
def page_address(page_folder: Path) -> Iterator[str]:
    """The page as a user starts it, once for all tests; a job runs when it ends, and nothing may stay."""
    from tests.test_scripts import write_video
    from tests.web_page import Visitor, served

    with served(page_folder) as address:
        yield address
        write_video(page_folder / "long.mp4", frames=400, fps=30)
        with Visitor(address) as last:
            assert "400 frames" in last.look(last.send_file(page_folder / "long.mp4"))
            assert last.join(last.events["sw-run"], None, "a dog\n" * 8, None).status_code == 200
