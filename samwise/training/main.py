"""``scripts/train.py``: turns a configuration into a trained checkpoint."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig

from samwise.config.network import SamwiseConfig
from samwise.config.typed import require, typed
from samwise.errors import UserError
from samwise.running.cli import program
from samwise.running.processes import is_restarted, job_id

if TYPE_CHECKING:
    from samwise.data.clips import ClipDataset
    from samwise.running.locking import FolderLock
    from samwise.training.config import TrainingConfig
    from samwise.training.trainer import Trainer, Validator

logger = logging.getLogger("samwise.training")


@program("train")
def main(config: DictConfig) -> None:
    """Trains as configured; exits with 128 + signal if a signal stopped it."""
    from samwise.training.distributed import is_main
    from samwise.training.run_log import Interrupted

    try:
        train(config)
    except Interrupted as stopped:
        if is_main():
            print(stopped, file=sys.stderr, flush=True)
        stopped.hand_on()
        sys.exit(config.scratch.interrupted_status or stopped.exit_status)


def train(config: DictConfig) -> float | None:
    """Trains a network, along with any other processes that torchrun, srun or submitit started.

    Returns:
        The best validation J&F in [0, 1], or None without validation.

    Raises:
        UserError: Something is wrong with the configuration, the data or the run folder.
        Interrupted: A signal stopped training; everything was saved.
    """
    from samwise.running.locking import FolderLock
    from samwise.training.distributed import process_group, together
    from samwise.training.run_log import end_in_log

    with process_group(config.device) as device, FolderLock() as lock, end_in_log():
        again = _is_again(config)
        with together():
            trainer = _prepare(config, device, lock, again)
        at = trainer.fit()
        logger.info(
            "done: %d steps, %.0f s of training%s; weights: %s",
            at.step,
            at.seconds,
            f", best validation J&F {at.best:.3f}" if at.best is not None else "",
            trainer.checkpoints.all()[-1] / "model.safetensors",
        )
    return at.best


def _is_again(config: DictConfig) -> bool:
    """Whether the cluster has restarted this job after it began the run in the folder.

    Such a job resumes, whatever its command says. Another job's run in the folder is replaced with
    ``overwrite=true``, as it would have been the first time.
    """
    from samwise.training.distributed import gather, is_main
    from samwise.training.run_folder import is_run_of

    own = is_main() and is_restarted(os.environ) and is_run_of(Path(config.output), job_id(os.environ))
    return gather(own)[0]  # decided before process 0 changes the folder


def _prepare(config: DictConfig, device: torch.device, lock: FolderLock, again: bool) -> Trainer:
    """Everything up to the first step."""
    from samwise.config.recipe import RecipeConfig
    from samwise.data.build import build_train_dataset
    from samwise.inference.sentences import check_expressions
    from samwise.modeling.losses import SamwiseLoss
    from samwise.modeling.samwise import Samwise
    from samwise.training.checkpoints import Checkpoints, flat_config
    from samwise.training.config import OptimizerConfig, TrainingConfig
    from samwise.training.distributed import is_main, world_size
    from samwise.training.loading import build_order
    from samwise.training.pretrained import load_pretrained
    from samwise.training.run_folder import clear_run, describe_run, open_run_folder
    from samwise.training.run_log import start_log
    from samwise.training.trainer import Trainer
    from samwise.weights.checkpoint import frozen_identity

    # Everything that can be wrong is checked before the run folder is touched.
    knobs = typed(TrainingConfig, config.scratch, "scratch")
    optimizer = typed(OptimizerConfig, config.optimizer, "optimizer")
    model_config, recipe = SamwiseConfig.from_node(config.model), RecipeConfig.from_node(config.recipe)
    crossed = model_config.cme.enabled and model_config.cme.crossed
    require(
        not crossed or knobs.expressions_per_clip > 1,
        "model.cme.crossed=true exchanges memories within a clip, but scratch.expressions_per_clip=1 gives "
        "each clip one sentence: make it 2 or more, or set model.cme.crossed=false",
    )
    length = knobs.clip_length or model_config.clip_length
    lowercase = model_config.lowercase
    dataset = build_train_dataset(config.data, model_config.canvas, length, knobs.seed, lowercase, recipe)
    validate = _validation(config, knobs, model_config.clip_length, dataset)
    torch.manual_seed(knobs.seed)
    model = Samwise(model_config)
    model.tokenize(["a sentence"])  # fails now if the tokenizer, or spaCy for the motion prompt, is missing
    if not knobs.random_frozen:
        _refuse_random_parts(model_config)
    order = build_order(dataset, knobs)
    resume = config.resume or again
    run = open_run_folder(config.output, resume, config.overwrite and not again)
    if is_main():
        lock.take(run)
    # A run that hasn't saved anything yet starts from the beginning, pretrained weights included.
    resuming = resume and bool(Checkpoints(run, knobs.keep_last).all())
    report = load_pretrained(model, config.pretrained) if config.pretrained and not resuming else None
    identity = frozen_identity(model)
    if is_main() and not resuming:  # at once: a restarted job recognises its run by it
        if config.overwrite and not resume:
            clear_run(run)
        describe_run(run, config, identity)
    start_log(run)
    for note in dataset.storage.notes:
        logger.info(note)
    if config.later_stage and not config.pretrained and not resuming and is_main():
        logger.warning(
            "this recipe is a later stage, but nothing has been trained before it: name the earlier stage, "
            "such as pretrained=runs/refcoco"
        )
    if resume and not resuming:
        logger.info("nothing to resume in %s: training starts from the beginning", run)
    if report:
        report.log(config.pretrained)
    if world_size() > order.shares and is_main():
        logger.warning(
            "scratch.batch_size=%d has clips for only %d processes: %d of the %d compute each, so the "
            "gradient is still the batch's, but training is no faster than with %d",
            *(knobs.batch_size, order.shares, world_size() // order.shares, world_size(), order.shares),
        )
    if is_main():
        check_expressions(model, dataset.expressions)
    model.to(device)
    model.frozen_dropout = recipe.frozen_dropout
    for adapter in model.adapters:
        adapter.padding_attended = recipe.padding_attended  # pyright: ignore[reportArgumentType]
    loss = SamwiseLoss(**config.loss, stretched=recipe.stretched_loss)
    contract = flat_config(asdict(recipe), "recipe")
    try:
        trainer = Trainer(model, dataset, knobs, optimizer, run, resume, validate, loss, contract)
    except UserError:
        if is_main() and not resuming:
            clear_run(run)  # a run that can't begin leaves nothing behind
        raise
    if is_main() and resuming:
        describe_run(run, config, identity)
    logger.info(
        "%s: %.1f M parameters, %.1f M trained, on %s%s; %d items, %d steps per epoch; run folder %s",
        model_config.name,
        sum(p.numel() for p in model.parameters()) / 1e6,
        sum(p.numel() for p in model.trainable_parameters()) / 1e6,
        device,
        f" and {world_size() - 1} others" if world_size() > 1 else "",
        trainer.order.length,
        trainer.order.steps_per_epoch,
        run,
    )
    return trainer


def _validation(
    config: DictConfig, knobs: TrainingConfig, clip_length: int, dataset: ClipDataset
) -> Validator | None:
    """Scores the model during training: on the few items it memorises, or on the evaluation split."""
    from samwise.data.build import build_storage
    from samwise.training.validation import ItemValidation, Validation

    if not knobs.validate_every:
        return None
    if knobs.limit_items:
        return ItemValidation(dataset, knobs.limit_items)
    storage = build_storage(config.data, config.data.eval_split)
    geometry = config.data.get("geometry", "video")
    return Validation(storage, clip_length, knobs.limit_videos, knobs.limit_frames, geometry)


def _refuse_random_parts(config: SamwiseConfig) -> None:
    """Refuses encoders with random weights, whether frozen or to be finetuned."""
    if not (random := config.random_parts):
        return
    part = f"model.{random[0]}"
    if config.baseline.kind == "full":
        problem, other = "is to be finetuned, but has no weights", ""
    else:
        problem = "is frozen, but has no weights, so it would stay random"
        other = f"train it too with {part}.trainable=true, "
    raise UserError(
        f"{part} {problem}: give {part}.checkpoint=FILE (python tools/download_checkpoints.py fetches "
        f"it), {other}or try things out with scratch.random_frozen=true"
    )


if __name__ == "__main__":
    main()
