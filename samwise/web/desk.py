"""Where finished jobs are corrected: which can be, and the threads in which it is done."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from samwise.errors import UserError
from samwise.inference.track import Track
from samwise.modeling.memories.corrections import require_correctable
from samwise.web.config import WebConfig
from samwise.web.editing import Editing
from samwise.web.operations import Operation
from samwise.web.room import Room, size_of_track
from samwise.web.turns import Turns
from samwise.web.work import write_again

if TYPE_CHECKING:
    from samwise.web.jobs import Job

_CLICKERS = 4  # threads for what is done at once
_WAITING = 8  # operations of a job that may wait; a person doesn't click faster


class Desk:
    """Corrections of all jobs.

    A click is done as soon as whoever computes has finished a clip. What follows corrections through a video
    takes turns with the running job; there is one at a time of those.

    Args:
        config: Limits, opacity.
        turns: Whose turn it is to compute.
    """

    def __init__(self, config: WebConfig, turns: Turns) -> None:
        self._config, self._turns = config, turns
        self.room = Room(config.limits)
        self._clickers = ThreadPoolExecutor(_CLICKERS, thread_name_prefix="click")
        self._followers = ThreadPoolExecutor(1, thread_name_prefix="follow", initializer=step_back)
        self._waiting: Counter[str] = Counter()
        self._lock = threading.Lock()

    def prepare(self, job: Job) -> None:
        """Before a job runs: a track, if there is room for one; else ``job.fixed`` says why not."""
        predictor, limits = job.model.predictor, self._config.limits
        try:
            require_correctable(predictor.model.config.memory)
        except UserError:
            job.fixed = "this model's memory can't be corrected"
            return
        frames, network = self._most_frames(job), predictor.model
        size = size_of_track(network, frames, job.upload.size, len(job.texts), limits)
        job.fixed = self.room.take(job.name, size)
        if not job.fixed:
            job.track = predictor.track(job.source, job.texts, self._config.clip_length, limits.states_mb)

    def open(self, job: Job) -> None:
        """A job is done: from now on its visitor may correct it."""
        track, job.track = job.track, None
        if track is None:
            return

        def write(track: Track, wrote: Callable[[int], None]) -> None:
            write_again(track, job, self._config, wrote)

        editing = job.editing = Editing(job, track, self._config.limits.corrections, self._turns, write)
        if job.frames > self._most_frames(job):
            self.close(job)
            editing.free("it has more frames than its file says")
        elif not self.room.lend(job.name, editing.free):
            editing.free("its page was closed")
        else:
            self._clickers.submit(editing.warm_up)

    def _most_frames(self, job: Job) -> int:
        return job.total or self._config.limits.frames

    def close(self, job: Job) -> None:
        """Nobody corrects the job any more: its track is freed."""
        job.track = None
        if job.editing is not None:
            job.editing.free("its page was closed")
        self.room.leave(job.name)

    def do(self, job: Job, operation: Operation) -> Future[None]:
        """Does an operation in another thread.

        Raises:
            UserError: The job can't be corrected, or too many operations of it wait already.
        """
        editing = self.of(job)
        self.room.use(job.name)
        with self._lock:
            if self._waiting[job.name] >= _WAITING:
                raise UserError("your last clicks are still being worked on; wait a moment")
            self._waiting[job.name] += 1
        done = self._clickers.submit(editing.do, operation)
        done.add_done_callback(lambda _: self._was_done(job.name))
        return done

    def _was_done(self, name: str) -> None:
        with self._lock:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]

    def apply(self, job: Job) -> Future[str]:
        """Makes the video follow, in another thread.

        Raises:
            UserError: The job can't be corrected, or there is nothing to do.
        """
        editing = self.of(job)
        self.room.use(job.name)
        editing.begin()

        def run() -> str:
            try:
                return editing.apply()
            finally:
                self.room.use(job.name)  # the time begins when there is something to see

        return self._followers.submit(run)

    def of(self, job: Job) -> Editing:
        """What can be done with a job.

        Raises:
            UserError: It can't be corrected.
        """
        if job.editing is None:
            raise UserError(job.fixed or "this video can't be corrected yet; wait until it is done")
        return job.editing

    def shutdown(self) -> None:
        """Ends everything; jobs must have been told to leave."""
        self._clickers.shutdown(wait=True, cancel_futures=True)
        self._followers.shutdown(wait=True, cancel_futures=True)


def step_back() -> None:
    """On few cores the page must still hear of "Stop" while frames are worked on: these threads step back."""
    with suppress(OSError, AttributeError):  # where threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
