"""Memory of workers that read a large mask_dict.json: python tools/measure_mask_memory.py annotations=1000"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from pycocotools import mask as coco_mask

from samwise.data.masks.index import MaskIndex
from samwise.data.masks.rle import RleMasks, RleTable
from samwise.errors import UserError
from samwise.io import read_json
from samwise.running.cli import program

SIZE = (720, 1280)


def write_masks(path: Path, annotations: int, frames: int) -> None:
    """Writes a file in MeViS's form: ragged blobs with about as many run lengths as real masks."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    with path.open("w") as file:
        for number in range(annotations):
            waves = 40 * np.sin(x / rng.uniform(9, 30)) + 25 * np.sin(y / rng.uniform(5, 20))
            blob = np.hypot(x - rng.uniform(200, 1000), y - rng.uniform(200, 500)) + waves < 180
            rle = coco_mask.encode(np.asfortranarray(blob, dtype=np.uint8))
            entry = [{"size": list(SIZE), "counts": rle["counts"].decode()}] * frames
            file.write(("{" if number == 0 else ", ") + f'"{number}": ' + json.dumps(entry))
        file.write("}")


def _megabytes(file: str, key: str) -> float:
    lines = Path(f"/proc/self/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1000


def _proportional_memory() -> float:
    """MB of this process, with shared pages divided among the processes that share them."""
    return _megabytes("smaps_rollup", "Pss")


def _work(masks: RleMasks | dict, names: list[str], frames: int, connection: Connection) -> None:
    """A worker: decodes a mask of each annotation, then reports its memory while all workers are running."""
    for name in names:
        if isinstance(masks, dict):
            coco_mask.decode(masks[name][0])
        else:
            masks.decode_union([name], frames, [0], SIZE)
    connection.send("ready")
    connection.recv()
    connection.send(_proportional_memory())
    connection.recv()


def _run(how: str, path: Path, annotations: int, frames: int, workers: int, result: Connection) -> None:
    start = time.perf_counter()
    opened = {
        "parsed": read_json,
        "in memory": lambda p: RleTable(read_json(p).items(), p),
        "index": MaskIndex,
    }
    masks = opened[how](path)
    seconds, peak = time.perf_counter() - start, _megabytes("status", "VmHWM")
    names = [str(number) for number in range(annotations)]
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in range(workers)]
    processes = [context.Process(target=_work, args=(masks, names, frames, end)) for _, end in pipes]
    for process in processes:
        process.start()
    for pipe, _ in pipes:
        pipe.recv()
    for pipe, _ in pipes:
        pipe.send("measure")
    memory = [pipe.recv() for pipe, _ in pipes]
    for (pipe, _), process in zip(pipes, processes, strict=True):
        pipe.send("end")
        process.join()
    result.send((seconds, peak, sum(memory) / workers, sum(memory) + _proportional_memory()))


@program("measure_mask_memory")
def main(config: DictConfig) -> None:
    if not Path("/proc/self/smaps_rollup").exists():
        raise UserError("this reads /proc/self/smaps_rollup, which only Linux has")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=config.folder) as folder:
        path = Path(folder) / "mask_dict.json"
        write_masks(path, config.annotations, config.frames)
        print(
            f"{path.stat().st_size / 1e6:.0f} MB, {config.annotations} annotations, {config.workers} workers"
        )
        print(f"{'':16}{'ready in':>10}{'peak':>10}{'a worker':>10}{'together':>10}")
        for label in ("parsed", "in memory", "index, made", "index, again"):
            receive, send = context.Pipe(duplex=False)
            arguments = (label.split(",")[0], path, config.annotations, config.frames, config.workers, send)
            process = context.Process(target=_run, args=arguments)
            process.start()
            seconds, *memory = receive.recv()
            process.join()
            print(f"{label:16}{seconds:>8.1f} s" + "".join(f"{value:>7.0f} MB" for value in memory))


if __name__ == "__main__":
    main()
