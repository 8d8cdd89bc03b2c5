"""Imported once by the server that forks test processes: they load nothing then."""

import matplotlib.figure  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import samwise.evaluation.main
import samwise.inference.predictor
import samwise.training.trainer
import samwise.visualization.observer
import samwise.web.reading  # noqa: F401
from samwise.config.composing import compose_model
from samwise.modeling.samwise import Samwise
from tests.training_process import SMALL

Samwise(compose_model("tiny_scratch", SMALL)).tokenize(["the red box"])
