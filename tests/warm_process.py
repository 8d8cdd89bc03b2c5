"""Imported once by the server that forks processes of training and of the page: they load nothing then."""

import torch.utils.tensorboard  # noqa: F401

import samwise.web.reading  # noqa: F401
from samwise.config.composing import compose_model
from samwise.modeling.samwise import Samwise
from tests.training_process import SMALL

Samwise(compose_model("tiny_scratch", SMALL)).tokenize(["the red box"])
