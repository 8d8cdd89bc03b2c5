"""Uploads are decoded in processes of their own: what a file does to a decoder, it does there.

A process that says nothing for too long is killed, one that breaks down takes nothing with it, and none can
have all the memory. They are forks of a server that has imported what decoding needs, so that they begin at
once. What comes back is numbers and pixels, never pickled objects.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from fractions import Fraction
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from samwise.errors import UserError
from samwise.video.source import Frame, FrameSource
from samwise.web.checks import REMOVED, check_upload
from samwise.web.config import LimitsConfig

_MEMORY = 8 << 30  # bytes, of one process
_LARGEST_MESSAGE = 1 << 16  # bytes of anything but a picture
_context = multiprocessing.get_context("forkserver")


def start_reading() -> None:
    """Starts the server that the processes are forks of; it imports while the network is loaded."""
    _context.set_forkserver_preload(["samwise.web.main", "samwise.web.reading"])
    forkserver.ensure_running()


class Upload(FrameSource):
    """An upload within the limits, as a stream of frames.

    Args:
        path: The file.
        limits: What is allowed, and how long a process may say nothing.

    Attributes:
        first: The first picture, (H, W, 3) uint8 RGB.
        seen: Frames that were decoded so far.

    Raises:
        UserError: The file is outside the limits, can't be decoded, or takes too long.
    """

    def __init__(self, path: str | Path, limits: LimitsConfig) -> None:
        self.path, self.name, self._limits = Path(path), "the file", limits
        self.seen = 0
        messages = self._messages()
        try:
            about = next(messages)
            self.size = (about["height"], about["width"])
            self.fps, self.pixel_aspect = _fraction(about["fps"]), Fraction(*about["pixel_aspect"])
            self.frame_count, self.still = about["frames"], about["still"]
            self.sound = self.path if about["sound"] else None
            first = next(messages, None)
            if first is None:
                raise UserError("the file has no picture that can be decoded; choose another one")
            self.first = first.image
        finally:
            messages.close()

    def _read(self) -> Iterator[Frame]:
        messages = self._messages()
        try:
            next(messages)
            for frame in messages:
                self.seen += 1
                yield frame
        finally:
            messages.close()

    def _messages(self) -> Generator[Any, None, None]:
        """What the file is, then its frames, from a new process that ends with the reader."""
        ours, theirs = _context.Pipe(duplex=False)
        process = _context.Process(target=_decode, args=(theirs, str(self.path), self._limits), daemon=True)
        process.start()
        theirs.close()
        try:
            while (message := self._next(ours)) is not None:
                if "time" not in message:
                    yield message
                    continue
                image = np.empty(message["shape"], np.uint8)
                ours.recv_bytes_into(image.reshape(-1).data)
                yield Frame(image, _fraction(message["time"]))
        except (EOFError, OSError) as error:
            raise UserError("the file couldn't be decoded: the decoder broke down; choose another") from error
        finally:
            ours.close()
            if process.exitcode is None:  # else its number may be another process's by now
                process.kill()
            process.join()
            process.close()

    def _next(self, connection: Any) -> dict[str, Any] | None:
        seconds = self._limits.opening_seconds
        if not connection.poll(seconds):
            raise UserError(f"the file takes more than {seconds:g} seconds to decode; choose another one")
        message = json.loads(connection.recv_bytes(_LARGEST_MESSAGE))
        if message and "error" in message:
            raise UserError(message["error"])
        return message


def _fraction(pair: list[int] | None) -> Fraction | None:
    return None if pair is None else Fraction(*pair)


def _pair(fraction: Fraction | None) -> list[int] | None:
    return None if fraction is None else [Fraction(fraction).numerator, Fraction(fraction).denominator]


def _end_with_page() -> None:
    """Nobody kills a process whose page was killed."""
    page = multiprocessing.parent_process()
    if page is not None:
        wait([page.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def _decode(connection: Connection, path: str, limits: LimitsConfig) -> None:
    """The process: says what the file is, then its frames, then nothing more."""
    threading.Thread(target=_end_with_page, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ValueError, OSError):  # where the limit is lower already
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    _tell(connection, path, limits)


def _tell(connection: Connection, path: str, limits: LimitsConfig) -> None:
    """What ``_decode`` says; what is wrong, it says as well."""

    def say(message: Any) -> None:
        connection.send_bytes(json.dumps(message).encode())

    with suppress(BrokenPipeError):  # the reader has seen enough
        try:
            source = check_upload(path, limits)
            height, width = source.size
            about = {"height": height, "width": width, "fps": _pair(source.fps), "still": source.still}
            about |= {"frames": source.frame_count, "pixel_aspect": _pair(source.pixel_aspect)}
            say(about | {"sound": source.sound is not None})
            for frame in source.frames():
                say({"time": _pair(frame.time), "shape": frame.image.shape})
                connection.send_bytes(np.ascontiguousarray(frame.image).reshape(-1).data)
            say(None)
        except UserError as error:
            say({"error": str(error).replace(path, "the file")})
        except FileNotFoundError:  # its visitor left after it had been looked at
            say({"error": REMOVED})
        except MemoryError:
            say({"error": "the file needs too much memory to be decoded; choose a smaller one"})
