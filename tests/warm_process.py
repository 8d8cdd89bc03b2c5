"""Imported once by the server that forks test processes: they load nothing then."""

import matplotlib.figure  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import samwise.evaluation.main
import samwise.inference.predictor
import samwise.training.trainer
import samwise.visualization.observer
import samwise.web.reading  # noqa: F401
from samwise.config.composing import compose_model
from samwise.encoders.tokens import verb_spans
from samwise.modeling.samwise import Samwise
from tests.training_process import SMALL

verb_spans(["the red box"])  # spaCy takes longer to load than most programs here to run
Samwise(compose_model("tiny_scratch", SMALL)).tokenize(["the red box"])
