"""``scripts/train.py``: from a configuration to a trained checkpoint."""

from __future__ import annotations

import logging
import sys

import hydra
import torch
from omegaconf import DictConfig

from samwise.config import CONFIG_DIR, SamwiseConfig
from samwise.errors import cli

logger = logging.getLogger("samwise.training")


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="train")
@cli
def main(config: DictConfig) -> None:
    """Trains as the configuration says; exits with 128 + signal when a signal stopped it."""
    from samwise.training.signals import Interrupted

    try:
        train(config)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr, flush=True)
        sys.exit(stopped.exit_status)


def train(config: DictConfig) -> float | None:
    """Trains a network.

    Args:
        config: ``configs/train.yaml``, composed.

    Returns:
        The best validation J&F in [0, 1], or None without validation.

    Raises:
        UserError: The configuration, the data or the run folder isn't right.
        Interrupted: A signal stopped training, after saving.
    """
    from samwise.data.build import build_storage, build_train_dataset
    from samwise.device import choose_device
    from samwise.modeling.losses import SamwiseLoss
    from samwise.modeling.samwise import Samwise
    from samwise.training.config import optimizer_config, training_config
    from samwise.training.pretrained import load_pretrained
    from samwise.training.run_folder import clear_run, describe_run, open_run_folder, start_log
    from samwise.training.state import Checkpoints
    from samwise.training.trainer import Trainer
    from samwise.training.validation import Validation

    # Everything that can be wrong is looked at before the run folder is touched.
    knobs, optimizer = training_config(config.scratch), optimizer_config(config.optimizer)
    model_config = SamwiseConfig.from_node(config.model)
    device = choose_device(config.device)
    dataset = build_train_dataset(
        config.data,
        model_config.canvas,
        knobs.clip_length or model_config.clip_length,
        knobs.seed,
        model_config.lowercase,
    )
    validate = None
    if knobs.validate_every:
        validate = Validation(
            build_storage(config.data, config.data.eval_split),
            model_config.clip_length,
            knobs.limit_videos,
            knobs.limit_frames,
        )
    torch.manual_seed(knobs.seed)
    model = Samwise(model_config)
    run = open_run_folder(config.output, config.resume, config.overwrite)
    # resume=true on a run that hasn't saved anything yet starts it, from the pretrained weights as well.
    resuming = config.resume and bool(Checkpoints(run, knobs.keep_last).all())
    report = load_pretrained(model, config.pretrained) if config.pretrained and not resuming else None
    if config.overwrite:
        clear_run(run)
    start_log(run)
    for note in dataset.storage.notes:
        logger.info(note)
    if report:
        report.log(config.pretrained)
    model.to(device)
    trainer = Trainer(
        model, dataset, knobs, optimizer, run, config.resume, validate, SamwiseLoss(**config.loss)
    )
    describe_run(run, config)
    trainable = sum(p.numel() for p in model.trainable_parameters())
    logger.info(
        "%s: %.1f M parameters, %.1f M trained, on %s; %d items, %d steps an epoch; run folder %s",
        model_config.name,
        sum(p.numel() for p in model.parameters()) / 1e6,
        trainable / 1e6,
        device,
        trainer.order.length,
        trainer.order.steps_per_epoch,
        run,
    )
    at = trainer.fit()
    logger.info(
        "done: %d steps, %.0f s of training%s; weights: %s",
        at.step,
        at.seconds,
        f", best validation J&F {at.best:.3f}" if at.best is not None else "",
        trainer.checkpoints.all()[-1] / "model.safetensors",
    )
    return at.best


if __name__ == "__main__":
    main()
