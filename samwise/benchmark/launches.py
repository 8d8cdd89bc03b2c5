"""What frames and training steps ask of a GPU: kernels, casts and waits, counted on fake tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from omegaconf import DictConfig, OmegaConf

from samwise.benchmark.fake_gpu import Launches, backward, fake_gpu, fake_network
from samwise.benchmark.infer import SENTENCE_TOKENS, fill
from samwise.benchmark.report import report
from samwise.config.network import SamwiseConfig
from samwise.data.types import ClipBatch
from samwise.encoders.tokens import Tokens
from samwise.errors import UserError
from samwise.inference.cuda_graphs import Recorded, Recording
from samwise.inference.runtime import with_cast_weights
from samwise.modeling.samwise import Samwise
from samwise.running.device import AUTOCAST
from samwise.running.stopping import StopRequest
from samwise.training.batches import TrainingBatch
from samwise.training.config import OptimizerConfig, TrainingConfig
from samwise.training.trainer import Trainer


def run(cfg: DictConfig) -> None:
    """Counts a clip for each clip length and number of sentences, per frame.

    Raises:
        UserError: The precision is unknown.
    """
    if cfg.precision not in ("float32", *AUTOCAST):
        raise UserError(f"precision={cfg.precision}: choose float32, {', '.join(AUTOCAST)}")
    config = SamwiseConfig.from_node(cfg.model)
    rows: list[dict[str, Any]] = []
    with fake_gpu():
        network, cast = fake_network(config), AUTOCAST.get(cfg.precision)
        network = network if cast is None else with_cast_weights(network, cast)
        for length in cfg.clip_lengths:
            for count in cfg.expressions:
                counts = count_clip(network, length, count, cast)
                with recordings_counted():
                    network.recorded = Recorded(network)
                    replayed = count_clip(network, length, count, cast)
                network.recorded = None
                rows.append(
                    {
                        "frames": length,
                        "sentences": count,
                        "launches/frame": counts.total / length,
                        "casts of weights/frame": counts.weight_casts / length,
                        "waits/clip": counts.waits,
                        "copies/clip": counts.uploads + counts.downloads,
                        "calls/frame with CUDA graphs": replayed.total / length,
                    }
                )
    settings = {"model": cfg.model.name, "canvas": config.canvas, "precision": cfg.precision}
    report("launches", settings, rows, cfg.output)
    if cfg.training is None:
        return
    rows = []
    for precision in cfg.training.precisions:
        counts = count_step(config, precision, cfg.training.batch_size, cfg.training.clip_length)
        rows.append(
            {
                "precision": precision,
                "launches/step": counts.total,
                "casts of weights/step": counts.weight_casts,
                "waits/step": counts.waits,
                "copies to the GPU/step": counts.uploads,
                "copies from it/step": counts.downloads,
            }
        )
    options: Any = OmegaConf.to_container(cfg.training)
    settings = {"model": cfg.model.name, "canvas": config.canvas, **options}
    report("training launches", settings, rows, cfg.training.output)


def count_clip(network: Samwise, length: int, sentences: int, cast: torch.dtype | None) -> Launches:
    """Counts a clip that is on the device already, with the memory full; to be called inside ``fake_gpu``."""
    tokens = Tokens.from_ids(torch.zeros(sentences, SENTENCE_TOKENS, dtype=torch.long, device="cuda"))
    frames = torch.zeros(1, length, 3, network.canvas, network.canvas, device="cuda")
    with torch.autocast("cuda", cast or torch.bfloat16, enabled=cast is not None):
        with Launches():
            _, state = network.stream(frames[:, :1], tokens)
            fill(state)
            for _ in range(0 if network.recorded is None else 3):  # the first call of a shape isn't recorded
                network.stream(frames, tokens, state)
        with Launches() as counts:
            network.stream(frames, tokens, state)
    return counts


def count_step(config: SamwiseConfig, precision: str, batch_size: int, clip_length: int) -> Launches:
    """Counts the second optimizer step of a training in one process, from its batch in the host's memory on.

    Args:
        config: The network.
        precision: ``scratch.precision``.
        batch_size: Clips per step, each with its own sentence.
        clip_length: T.
    """
    knobs = TrainingConfig(
        batch_size=batch_size, clip_length=clip_length, max_steps=2, precision=precision, pictures_every=0
    )
    walked = mock.patch.object(torch.Tensor, "backward", backward)
    with fake_gpu(), walked, torch.enable_grad(), TemporaryDirectory() as folder:
        network = fake_network(config)
        trainer = Trainer(network, range(batch_size), knobs, OptimizerConfig(), Path(folder))
        trainer.prepare()
        size = (batch_size, clip_length, 3, config.canvas, config.canvas)
        clips = ClipBatch(
            torch.zeros(size, dtype=torch.uint8),
            torch.zeros(size[:2] + size[3:], dtype=torch.bool),
            torch.ones(size[:1] + size[3:], dtype=torch.bool),
            [""] * batch_size,
            [],
        )
        tokens = Tokens.from_ids(torch.zeros(batch_size, SENTENCE_TOKENS, dtype=torch.long))
        batches = repeat(TrainingBatch(clips, tokens))
        with closing(trainer.monitor):
            trainer.take_step(batches, StopRequest())  # creates the optimizer's state
            with Launches() as counts:
                trainer.take_step(batches, StopRequest())
    return counts


@contextmanager
def recordings_counted() -> Iterator[None]:
    """Makes a replay of a CUDA graph count as one call; fake tensors can't be recorded."""

    class Counted(Recording):
        def __init__(self, function: Callable[..., Any], arguments: Any, pool: Any) -> None:
            self._inputs = arguments
            with Launches():
                self._outputs = function(*arguments)

        def _replay(self) -> None:
            Launches.now().kernels["replay"] += 1

    with mock.patch("samwise.inference.cuda_graphs.Recording", Counted):
        yield
