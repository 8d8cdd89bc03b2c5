"""Imported once by the server that forks test processes: they load nothing then."""

import av  # noqa: F401
import matplotlib.figure  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import samwise.evaluation.davis
import samwise.evaluation.main
import samwise.inference.demo
import samwise.inference.infer
import samwise.inference.predictor
import samwise.inference.segment
import samwise.synthrvos.main
import samwise.training.main
import samwise.visualization.observer
import samwise.web.reading  # noqa: F401
from samwise.encoders.tokens import verb_spans
from tests.networks import random_network
from tests.training_process import SMALL

verb_spans(["the red box"])  # spaCy takes longer to load than most programs here to run
random_network(0, SMALL).tokenize(["the red box"])
