"""A GPU that isn't there: PyTorch's fake tensors on "cuda", to count what a real one would be asked to do.

Fake tensors have a device, a shape and a type, but no values. Mixing devices or types fails as on a real GPU;
kernels, casts, copies and waits are counted as they are launched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from samwise.config.network import SamwiseConfig
from samwise.data.geometry import _statistics
from samwise.errors import UserError
from samwise.modeling.samwise import Samwise
from samwise.weights.skeleton import skeleton

M = TypeVar("M", bound=nn.Module)

# Operations that only make a view of a tensor or allocate memory.
_NO_KERNEL = (
    "t view transpose unsqueeze slice permute select expand unbind alias split split_with_sizes squeeze "
    "_unsafe_view detach unfold _reshape_alias chunk as_strided view_as_real view_as_complex lift_fresh "
    "empty empty_like empty_strided new_empty diagonal narrow"
).split()
_WAITS = ("_local_scalar_dense", "is_nonzero", "item", "nonzero")


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Makes tensors fake, with autocast for their "cuda"; gradients come only from ``backward``.

    Raises:
        UserError: This version of torch needs a real GPU even for that.
    """
    available = "torch.cuda.amp.common.amp_definitely_not_available"
    _statistics.cache_clear()  # tensors cached for a device are real outside and fake inside
    with (
        FakeTensorMode(),
        mock.patch(available, return_value=False),
        mock.patch("torch.cuda.is_bf16_supported", return_value=True),
        mock.patch.object(FakeTensor, "tolist", _read),
        torch.no_grad(),
    ):
        _try_indexing()
        yield
    _statistics.cache_clear()


def _try_indexing() -> None:
    """Builds of torch 2.5 for CUDA ask the driver about the device of every tensor that is indexed."""
    try:
        torch.empty(2, device="cuda")[:1]
    except RuntimeError as error:
        raise UserError(
            f"torch {torch.__version__} can't simulate a GPU where there is none: install a newer torch"
        ) from error


def fake_network(config: SamwiseConfig) -> Samwise:
    """A network on the fake GPU, in eval mode; to be called inside ``fake_gpu``."""
    with unset_fake_temporarily():
        network = skeleton(config)
    return on_fake_gpu(network).eval()


def on_fake_gpu(module: M) -> M:
    """Moves a skeleton's shapes to the fake GPU."""
    for part in module.modules():
        for name, value in vars(part).items():  # sam2's tables outside its state, unused here
            if isinstance(value, Tensor):
                setattr(part, name, None)
    return module._apply(lambda x: torch.empty(x.shape, dtype=x.dtype, device="cuda"))


def backward(loss: Tensor) -> None:
    """``loss.backward()``, node by node: PyTorch's own engine would ask a driver for streams."""
    waiting: Counter[Any] = Counter()  # how many gradients a node still waits for
    first: Any = loss.grad_fn
    todo, seen = [first], {first}
    while todo:
        for node, _ in todo.pop().next_functions:
            waiting[node] += 1
            if node is not None and node not in seen:
                seen.add(node)
                todo.append(node)
    found: dict[Any, dict[int, Tensor]] = {first: {0: torch.ones_like(loss)}}
    ready = [first]
    while ready:
        node = ready.pop()
        gradients = found.pop(node, {})
        if hasattr(node, "variable"):  # the end: a parameter
            if gradients:
                kept = node.variable.grad
                node.variable.grad = gradients[0] if kept is None else kept + gradients[0]
            continue
        out = node(*(gradients.get(i) for i in range(len(node._input_metadata)))) if gradients else None
        out = out if isinstance(out, tuple) else (out,) * len(node.next_functions)
        for (after, i), gradient in zip(node.next_functions, out, strict=True):
            if after is None:
                continue
            if gradient is not None:
                wanted = after._input_metadata[i]
                gradient = gradient.sum_to_size(wanted.shape).to(wanted.dtype)
                others = found.setdefault(after, {})
                others[i] = others[i] + gradient if i in others else gradient
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)


class Launches(TorchDispatchMode):
    """Counts what the GPU is asked to do inside the context.

    Args:
        answers: What the host is told when it asks the GPU for its n-th value.

    Attributes:
        kernels: Launches by operation.
        weight_casts: Launches that cast a parameter to another type.
        waits: How often the host waited for a value.
        uploads: Copies from the host.
        downloads: Copies to the host.
    """

    def __init__(self, answers: Callable[[int], bool] = lambda number: False) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.weight_casts = self.waits = self.uploads = self.downloads = 0
        self._answers = answers
        self._attention = _Attention(self.kernels)

    _counting: list[Launches] = []

    def __enter__(self) -> Launches:
        super().__enter__()
        self._attention.__enter__()
        self._counting.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        self._counting.pop()
        self._attention.__exit__(*error)
        super().__exit__(*error)

    @classmethod
    def now(cls) -> Launches:
        """The innermost one that is counting."""
        return cls._counting[-1]

    @property
    def total(self) -> int:
        return sum(self.kernels.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0]
        if name in _WAITS:
            self.waits += 1
            return self._answers(self.waits - 1)
        out = func(*args, **(kwargs or {}))
        devices = {x.device.type for x in _tensors(args)}
        made = {x.device.type for x in _tensors(out)}
        if name == "_to_copy" and isinstance(args[0], nn.Parameter):
            self.weight_casts += 1
        if devices == {"cpu"} and made == {"cuda"}:
            self.uploads += 1
        if devices == {"cuda"} and made == {"cpu"}:
            self.downloads += 1
            self.waits += 1
        if name not in _NO_KERNEL and func.namespace == "aten" and "cuda" in devices | made:
            self.kernels[name] += 1
        return out


def _read(values: Tensor) -> list[float]:
    """All of a vector's values: the host waits once for them together."""
    if Launches._counting:
        Launches.now().waits += 1
    return [0.0] * len(values)


class _Attention(TorchFunctionMode):
    """Counts scaled dot-product attention as one kernel, as on a GPU; fake tensors would decompose it."""

    def __init__(self, kernels: Counter[str]) -> None:
        super().__init__()
        self.kernels = kernels

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v = args[:3]
        if torch.is_autocast_enabled("cuda"):
            q, k, v = (x.to(torch.get_autocast_dtype("cuda")) for x in (q, k, v))
        if not q.dtype == k.dtype == v.dtype or not q.device == k.device == v.device:
            raise RuntimeError(f"attention of {q.dtype}, {k.dtype}, {v.dtype} on {q.device}, {k.device}")
        self.kernels["attention"] += 1
        return q.new_empty(*q.shape[:-1], v.shape[-1])


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [x for part in value for x in _tensors(part)] if isinstance(value, list | tuple) else []
