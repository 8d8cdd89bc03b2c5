"""Which device to run on."""

from __future__ import annotations

import torch
from torch import Tensor

from samwise.errors import UserError

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}  # with weights in float32


def choose_device(name: str | torch.device | None) -> torch.device:
    """The device of that name; by default the GPU where there is one.

    Raises:
        UserError: There is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device={name} can't be used ({str(error).splitlines()[0]}); choose device=cpu"
        ) from error
    return device


def for_matmul(x: Tensor) -> Tensor:
    """``x`` in the type that autocast gives to matrix products, for several that read it; else as it is.

    Autocast itself casts ``x`` anew for each of them.
    """
    kind = x.device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)  # not on "meta"
    return x.to(torch.get_autocast_dtype(kind)) if casts else x
