"""Runs steps in several processes, each step after the one it needs."""

from __future__ import annotations

import os
import queue
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from subprocess import Popen

from samwise.ablation.step import Step, StepFailed, run_command
from samwise.errors import UserError
from samwise.progress import progress


def run_steps(steps: Sequence[Step], jobs: int, gpus: int = 0) -> list[str]:
    """Runs the steps that aren't done.

    Args:
        steps: Each after the one it needs; the same step may occur several times.
        jobs: Most processes at once, each with one thread.
        gpus: Number of GPUs; the processes take turns on them.

    Returns:
        A sentence for each failure; steps that needed a failed one were skipped.
    """
    waiting = list({step.identity: step for step in steps if not step.done}.values())
    failed: set[str] = set()
    messages = []
    running: set[Popen] = set()
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)

    def work(step: Step) -> None:
        slot = slots.get()
        try:
            step.run(lambda command, log: run_command(command, log, _environment(slot, gpus), running))
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(jobs) as pool, progress(desc="steps", total=len(waiting), unit="step") as bar:
        began: dict[Future[None], Step] = {}
        try:
            while waiting or began:
                for step in list(waiting):
                    if step.needs is not None and step.needs.identity in failed:
                        failed.add(step.identity)
                        waiting.remove(step)
                        bar.update()
                    elif step.needs is None or step.needs.done:
                        if len(began) < jobs:
                            waiting.remove(step)
                            began[pool.submit(work, step)] = step
                finished, _ = wait(began, return_when=FIRST_COMPLETED)
                for future in finished:
                    step = began.pop(future)
                    bar.update()
                    try:
                        future.result()
                        bar.write(f"done: {step.name}, {step.seconds:.0f} s", file=sys.stderr)
                    except (StepFailed, UserError) as error:
                        failed.add(step.identity)
                        messages.append(f"{step.name} failed: {error}")
                        bar.write(messages[-1], file=sys.stderr)
        except BaseException:
            for process in list(running):  # training saves what it has
                process.send_signal(signal.SIGTERM)
            raise
    return messages


def _environment(slot: int, gpus: int) -> dict[str, str]:
    here = str(Path(__file__).parent.parent.parent)  # the same code, installed or not
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    if gpus:
        named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        environment["CUDA_VISIBLE_DEVICES"] = named[slot % gpus] if named else str(slot % gpus)
    return environment
