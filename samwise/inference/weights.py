"""Finding the checkpoint that is meant."""

from __future__ import annotations

from pathlib import Path

from samwise.errors import UserError

# Where the small default is looked for, in this order; the newest run of the quickstart comes first.
DEFAULTS = ("runs/quickstart/video", "checkpoints/default.safetensors")


def find_checkpoint(path: str | Path | None) -> Path:
    """The checkpoint file behind a path.

    Args:
        path: A file, or a training run's folder (its best checkpoint, else its newest). None for the default.

    Raises:
        UserError: There is none.
    """
    if path is None:
        for default in DEFAULTS:
            if found := _in_run(Path(default)):
                return found
        raise UserError(
            "no checkpoint is named and there is no default one yet: give checkpoint=FILE, or let "
            "`bash scripts/quickstart.sh` train the small default first"
        )
    if found := _in_run(Path(path)):
        return found
    raise UserError(
        f"there is no checkpoint at {path}; give a .safetensors file or a run folder of scripts/train.py"
    )


def _in_run(path: Path) -> Path | None:
    if path.is_file():
        return path
    newest = sorted(path.glob("checkpoints/*/model.safetensors"))
    return next((found for found in (path / "best.safetensors", *newest[::-1]) if found.is_file()), None)
