"""Jobs: who runs, who waits, who has left, and what became of them."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch

from samwise.errors import NotEnoughMemory, UserError
from samwise.inference.sentences import doubt
from samwise.inference.track import Track
from samwise.video.limits import LimitedSource
from samwise.web.checks import check_sentences
from samwise.web.config import WebConfig
from samwise.web.desk import Desk, step_back
from samwise.web.editing import Editing
from samwise.web.models import Model, Models
from samwise.web.reading import Upload
from samwise.web.store import Store
from samwise.web.turns import Turns
from samwise.web.work import frame_file, work

log = logging.getLogger(__name__)

WAITING, RUNNING, DONE, FAILED, LEFT = "waiting", "running", "done", "failed", "left"


class Left(Exception):
    """The user has gone: nothing is to be finished."""


@dataclass
class Job:
    """A video and its sentences.

    Attributes:
        name: Unguessable; the results are found under it.
        folder: Its files.
        title: What the user's file is called, for the names of the downloads.
        texts: N sentences.
        visitor: Who asked for it, as far as limits go.
        upload: The frames; ``seen`` of it counts those that were decoded.
        model: What segments it.
        clip: Frames after which the first masks come, at most.
        state: One of the constants above.
        message: What to tell the user, where it failed.
        doubts: What to tell the user about the sentences.
        present: For each frame so far, N bools: the sentence's object is there.
        switched: For each frame so far, N bools: the CME brought the memory-less mask in.
        files: Names and paths of the downloads.
        track: Its results, if they can be corrected; while it runs.
        editing: What its visitor corrects, when it is done.
        fixed: Why it can't be corrected; empty where it can.
        corrected: How often corrected results were written.
        results: Where the results are that were written last.
        source: The frames, until somebody stops it.
    """

    name: str
    folder: Path
    title: str
    texts: list[str]
    visitor: str
    upload: Upload
    model: Model
    clip: int
    state: str = WAITING
    message: str = ""
    doubts: list[str] = field(default_factory=list)
    present: list[list[bool]] = field(default_factory=list)
    switched: list[list[bool]] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    track: Track | None = None
    editing: Editing | None = None
    fixed: str = ""
    corrected: int = 0
    stopping: bool = False
    leaving: bool = False

    def __post_init__(self) -> None:
        self.results = self.folder
        self.source = LimitedSource(self.upload, stop=lambda: self.stopping)

    @property
    def total(self) -> int | None:
        """Number of frames, or None where it isn't known."""
        return self.upload.frame_count

    @property
    def over(self) -> bool:
        return self.state in (DONE, FAILED, LEFT)

    @property
    def frames(self) -> int:
        """Frames that are done."""
        return len(self.present)

    def frame_file(self, index: int) -> Path:
        """The picture of a frame with its masks."""
        return frame_file(self.results, index)

    def bare_file(self, index: int) -> Path:
        """The picture of a frame without masks, where there is a track."""
        return self.folder / "bare" / f"{index:05d}.jpg"


class Jobs:
    """All jobs of a server. A user's session has at most one."""

    def __init__(self, models: Models, store: Store, config: WebConfig) -> None:
        self.models, self.store, self.config = models, store, config
        self.turns = Turns(config.limits.jobs)
        self.desk = Desk(config, self.turns)
        self._pool = ThreadPoolExecutor(config.limits.jobs, thread_name_prefix="job", initializer=step_back)
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._of_session: dict[str, Job] = {}

    def start(
        self, session: str, upload: str | Path, text: str, visitor: str = "", model: str | None = None
    ) -> Job:
        """Checks what a user asks for and puts it in the queue; the session's job before it is dropped.

        ``visitor`` is who asks, as far as limits go; ``model`` is a name on offer, None the first.

        Raises:
            UserError: Something is wrong with it, or too many wait already.
        """
        limits, chosen = self.config.limits, self.models.find(model)
        network = chosen.predictor.model
        texts = check_sentences(text, limits)
        network.tokenize(texts)  # says now what is wrong with a sentence
        folder = self.store.new_job()
        try:
            frames = Upload(self.store.adopt(Path(upload), folder), limits)
            clip = self.config.clip_length or network.clip_length
            job = Job(folder.name, folder, Path(upload).stem, texts, visitor, frames, chosen, clip)
            self.forget(session)
            with self._lock:
                self._check_turns(visitor)
                self._jobs[job.name] = self._of_session[session] = job
            self._pool.submit(self._run, job)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return job

    def _check_turns(self, visitor: str) -> None:
        limits = self.config.limits
        unfinished = [job for job in self._jobs.values() if not job.over]
        if len(unfinished) >= limits.jobs + limits.waiting:
            raise UserError(f"{len(unfinished)} other videos are being worked on; try again in a few minutes")
        own = sum(job.visitor == visitor for job in unfinished)
        if own >= limits.visitor_jobs:
            raise UserError(
                f"{own} videos of your address are being worked on; wait for one of them, or stop it"
            )

    def _run(self, job: Job) -> None:
        """Whatever happens to one job, the server goes on."""
        try:
            if job.leaving:
                raise Left
            network = job.model.predictor.model
            job.doubts = [said for text in job.texts if (said := doubt(network, text))]
            with self.turns.turn() as give_way:
                job.state = RUNNING
                self.desk.prepare(job)
                work(job.model.predictor, job, self.config, _between_frames(job, give_way))
            self.desk.open(job)
            job.state = DONE
        except Left:
            job.state = LEFT
        except (NotEnoughMemory, torch.OutOfMemoryError, MemoryError):
            self._fail(job, "the memory isn't enough for this video; try a smaller one or fewer sentences")
        except UserError as error:
            self._fail(job, str(error).replace(str(job.folder), "the file"))
        except Exception:
            log.exception("a job failed")
            self._fail(job, "something went wrong here; the server's log has the details")
        finally:
            if job.state != DONE:
                self.desk.close(job)
            if job.state == LEFT:
                self.remove(job.name)

    def _fail(self, job: Job, message: str) -> None:
        job.message, job.state = message, FAILED

    def find(self, name: str) -> Job | None:
        """The job of this name, while there is one."""
        with self._lock:
            return self._jobs.get(name)

    def of_session(self, session: str) -> Job | None:
        with self._lock:
            return self._of_session.get(session)

    def before(self, job: Job) -> int:
        """Jobs that have their turn before this one."""
        with self._lock:
            names = list(self._jobs)
            ahead = names[: names.index(job.name)] if job.name in self._jobs else []
            return sum(not self._jobs[name].over for name in ahead)

    def stop(self, session: str) -> None:
        """Ends a session's job after the current clip, with everything done until then.

        Where it is over, what follows its corrections ends, as if it hadn't begun.
        """
        if job := self.of_session(session):
            if not job.over:
                job.stopping = True
            elif job.editing is not None:
                job.editing.stop()

    def leave(self, session: str) -> None:
        """The user has gone: a job that isn't over ends with nothing; results stay until their time.

        Nobody else can correct them.
        """
        with self._lock:
            job = self._of_session.pop(session, None)
        if job is not None:
            if not job.over:
                job.leaving = True
            self.desk.close(job)

    def forget(self, session: str) -> None:
        """Ends a session's job and removes its files."""
        job = self.of_session(session)
        self.leave(session)
        if job is not None and job.over:
            self.remove(job.name)

    def remove(self, name: str) -> None:
        """Removes a job and its files."""
        with self._lock:
            job = self._jobs.pop(name, None)
            for session in [key for key, value in self._of_session.items() if value is job]:
                del self._of_session[session]
        if job is not None:
            self.desk.close(job)
            shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what is past its time; a job still at work is stopped first."""
        self.store.sweep_uploads()
        self.desk.room.sweep()
        for name in self.store.old_jobs():
            job = self.find(name)
            if job is None:
                shutil.rmtree(self.store.jobs / name, ignore_errors=True)
            elif job.over:
                self.remove(name)

    def close(self) -> None:
        """Ends all jobs."""
        with self._lock:
            for job in self._jobs.values():
                job.leaving = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.desk.shutdown()


def _between_frames(job: Job, give_way: Callable[[], None]) -> Callable[[], None]:
    def check() -> None:
        give_way()
        if job.leaving:
            raise Left

    return check
