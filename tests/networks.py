"""Small networks, each built once in a process and handed out as copies. Not a test itself.

Composing a configuration and building what it says takes longer than most tests run the network.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from samwise import Samwise
from samwise.config.composing import compose_model
from samwise.weights.seeded import seeded_tensor

_seeded = lru_cache(maxsize=2000)(seeded_tensor)


def random_network(seed: int, overrides: Sequence[str], name: str = "tiny_scratch") -> Samwise:
    """The network that ``torch.manual_seed(seed)`` gives, with the random state as it is afterwards."""
    model, state = _random(seed, tuple(overrides), name)
    torch.set_rng_state(state)
    return copy.deepcopy(model)


@lru_cache(maxsize=12)
def _random(seed: int, overrides: tuple[str, ...], name: str) -> tuple[Samwise, Tensor]:
    torch.manual_seed(seed)
    return Samwise(compose_model(name, list(overrides))), torch.get_rng_state()


def seeded_network(overrides: Sequence[str], name: str = "tiny_scratch") -> Samwise:
    """In eval mode, with weights of which none is left at zero or one, the same for the same names."""
    return copy.deepcopy(_seeded_network(tuple(overrides), name))


@lru_cache(maxsize=12)
def _seeded_network(overrides: tuple[str, ...], name: str) -> Samwise:
    model = Samwise.from_config(name, list(overrides))
    state = model.state_dict()
    model.load_state_dict({name: _seeded(name, tuple(x.shape), str(x.dtype)) for name, x in state.items()})
    return model.eval()
