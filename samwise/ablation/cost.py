"""What a frame costs in one setting, as a multiple of another: both in one process, in turn."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig

from samwise.config.composing import compose_config
from samwise.config.registry import load_extensions
from samwise.io import write_json
from samwise.running.reporting import cli

TURNS = ("reference", "row", "row", "reference")  # so that neither gains by a machine that slows down


@cli
def main() -> None:
    """Times the two configs of ``scripts/infer.py`` that the first argument names, and writes the result."""
    task = json.loads(sys.argv[1])
    configs = {side: compose_config("infer", task[side]) for side in ("reference", "row")}
    load_extensions(configs["row"].extensions)
    write_json(Path(task["output"]), relative_cost(configs["row"], configs["reference"], task["videos"]))


def relative_cost(row: DictConfig, reference: DictConfig, videos: int) -> dict[str, Any]:
    """Segments the first videos of a split with both, twice each, as ``scripts/infer.py`` does.

    Reading the frames and writing the masks count too.

    Args:
        row: A config of ``scripts/infer.py``.
        reference: Another, of the same data.
        videos: How many videos.

    Returns:
        ``ratio``, that of the sums of the faster turns, and for each of ``videos`` the seconds of all turns,
        without a GPU those of CPU time.
    """
    from samwise.data.build import build_storage
    from samwise.inference.dataset import DatasetInference
    from samwise.inference.infer import build_predictor
    from samwise.running.device import own_device
    from samwise.running.processes import find_place

    storage = build_storage(row.data, row.split)
    device = own_device(row.device, find_place(os.environ), shared=True)
    # Seconds of work where the work is the CPU's: waiting for other programs' turns doesn't count.
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    found: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        sides = {}
        for side, cfg in (("reference", reference), ("row", row)):
            predictor, settings = build_predictor(cfg, device)
            length = settings["clip_length"]
            sides[side] = DatasetInference(predictor, storage, Path(folder), length, cfg.max_expressions)
        for job in sides["row"].jobs[:videos]:
            seconds: dict[str, list[float]] = {"reference": [], "row": []}
            for turn, side in enumerate(TURNS):
                inference = sides[side]
                inference.jobs, inference.output = [job], Path(folder, f"{len(found)}-{turn}")
                start = clock()
                inference.run()
                seconds[side].append(clock() - start)
            frames = len(storage.frame_names(job.video_id))
            found.append(
                {"video": job.video_id, "frames": frames, "sentences": len(job.expressions), **seconds}
            )
    sums = {side: sum(min(video[side]) for video in found) for side in ("row", "reference")}
    return {"ratio": sums["row"] / sums["reference"], "videos": found}
