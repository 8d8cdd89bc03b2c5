"""Imported once by the server that forks test_nothing_is_lost.py's processes: they load nothing then."""

import torch.utils.tensorboard  # noqa: F401

from samwise.composing import compose_model
from samwise.modeling.samwise import Samwise
from tests.training_process import SMALL

Samwise(compose_model("tiny_scratch", SMALL)).tokenize(["the red box"])
