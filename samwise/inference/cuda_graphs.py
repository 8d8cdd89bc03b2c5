"""CUDA graphs: what the GPU is asked for is recorded once and replayed by a single call.

Launching hundreds of small kernels one by one takes a host longer than a fast GPU needs to run them.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger("samwise.modeling")
MAX_RECORDINGS = 8  # of a function: each holds its inputs and outputs


class Recording:
    """A function's kernels for inputs of one shape.

    Args:
        function: Without Python side effects, and without a look at the GPU's values.
        arguments: Of the call that is recorded.
        pool: Memory that all recordings share: nothing in it outlives a replay.
    """

    def __init__(self, function: Callable[..., Any], arguments: Any, pool: Any) -> None:
        self._inputs = _rebuild(arguments, iter([x.clone() for x in _leaves(arguments)]))
        warm = torch.cuda.Stream()
        warm.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm):  # libraries set themselves up in a first call, outside the recording
            function(*self._inputs)
        torch.cuda.current_stream().wait_stream(warm)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads, which read frames, may ask for pinned memory meanwhile.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._outputs = function(*self._inputs)

    def __call__(self, arguments: Any) -> Any:
        """Replays it with other values; the outputs are copies that the next replay leaves alone."""
        torch._foreach_copy_(_leaves(self._inputs), _leaves(arguments))  # pyright: ignore[reportPrivateImportUsage]
        self._replay()
        return _rebuild(self._outputs, iter([x.clone() for x in _leaves(self._outputs)]))

    def _replay(self) -> None:
        self._graph.replay()


class Replayed:
    """A function that is recorded when a shape comes back: the first call of each runs as it is."""

    def __init__(self, function: Callable[..., Any], pool: Callable[[], Any]) -> None:
        self._function, self._pool = function, pool
        self._recordings: OrderedDict[Any, Callable[[Any], Any] | None] = OrderedDict()

    def __call__(self, *arguments: Any) -> Any:
        key = _shape(arguments)
        if key not in self._recordings:
            self._recordings[key] = None
            if len(self._recordings) > MAX_RECORDINGS:
                self._recordings.popitem(last=False)
            return self._function(*arguments)
        self._recordings.move_to_end(key)
        recording = self._recordings[key]
        if recording is None:
            recording = self._recordings[key] = self._record(arguments)
        return recording(arguments)

    def _record(self, arguments: Any) -> Callable[[Any], Any]:
        """A recording; where the GPU's libraries refuse, the function as it is, and a warning."""
        try:
            return Recording(self._function, arguments, self._pool())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            name, why = self._function.__name__, str(error).splitlines()[0]
            logger.warning("%s can't be a CUDA graph and runs without (%s)", name, why)
            return lambda arguments: self._function(*arguments)


class Recorded:
    """The parts of a network that are worth recording.

    Args:
        network: A ``samwise.modeling.samwise.Samwise`` on a GPU, in eval mode. Its weights may change
            in place; moving it makes the recordings worthless.
    """

    def __init__(self, network: Any) -> None:
        self._handle: Any = None
        self.see = Replayed(network.see, self._pool)
        self.encode = Replayed(network.encode, self._pool)
        self.step = Replayed(network.step, self._pool)

    def _pool(self) -> Any:
        if self._handle is None and torch.cuda.is_available():
            self._handle = torch.cuda.graph_pool_handle()
        return self._handle


def _parts(value: Any) -> list[Any]:
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    return list(value) if isinstance(value, tuple | list) else []


def _leaves(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dataclasses."""
    return [value] if isinstance(value, Tensor) else [x for part in _parts(value) for x in _leaves(part)]


def _rebuild(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same structure with other tensors."""
    if isinstance(value, Tensor):
        return next(tensors)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _rebuild(getattr(value, f.name), tensors) for f in fields(value)})
    if isinstance(value, tuple | list):
        return type(value)(_rebuild(part, tensors) for part in value)
    return value


def _shape(value: Any) -> Any:
    """What a recording depends on: shapes, types and whatever isn't a tensor."""
    if isinstance(value, Tensor):
        return (value.shape, value.dtype, value.stride())
    parts = _parts(value)
    return (type(value).__name__, *map(_shape, parts)) if parts or isinstance(value, tuple) else value
