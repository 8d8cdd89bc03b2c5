"""Converts the authors' checkpoints to ours, and back:

``python tools/convert_checkpoint.py released.pth out.safetensors [model.key=value ...]``
``python tools/convert_checkpoint.py --to-reference out.safetensors released.pth``
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from samwise.config.network import SamwiseConfig
from samwise.errors import UserError
from samwise.running.cli import call
from samwise.running.reporting import cli

if TYPE_CHECKING:
    from samwise.weights.conversion import Conversion

USAGE = (
    "usage: python tools/convert_checkpoint.py released.pth out.safetensors [model.key=value ...], or back: "
    "--to-reference out.safetensors released.pth"
)


@cli
def main() -> None:
    """Takes the two paths from the command line and leaves the rest to the config."""
    arguments = sys.argv[1:]
    back = "--to-reference" in arguments
    paths = [x for x in arguments if not x.startswith("-") and not re.match(r"[~+\w./@-]+=", x)]
    if len(paths) != 2:
        raise UserError(USAGE)
    sys.argv[1:] = [x for x in arguments if x not in (*paths, "--to-reference")]

    def run(cfg: DictConfig) -> None:
        from samwise.weights.conversion import convert_back

        source, target = paths
        if back:
            print(f"{target}: {convert_back(source, target)} tensors in the released form")
        else:
            to_ours(source, target, cfg)

    call(run, "convert_checkpoint")


def to_ours(source: str, target: str, cfg: DictConfig) -> None:
    """Converts, and says what became of everything in the file."""
    from samwise.weights.conversion import convert

    done = convert(source, target, SamwiseConfig.from_node(cfg.model))
    config = done.config
    print(f"{target}: {done.trained:,} trained parameters, {Path(target).stat().st_size / 1e6:.1f} MB")
    print(
        f"  found: {done.stage}; {Path(config.backbone.config).stem}, {config.text_encoder.name}; HSA "
        f"{_on(config.adapter.hsa)}, CME {_on(config.cme.enabled)}, object scores {_on(config.object_scores)}"
    )
    print(
        f"  canvas {config.canvas} (not in the file; model.canvas=... changes it), sentences of up to "
        f"{done.tokens} tokens"
    )
    if done.checked:
        print(f"  frozen weights equal to the given ones, so left out: {', '.join(done.checked)}")
    if done.frozen_file:
        size = done.frozen_file.stat().st_size / 1e6
        print(f"{done.frozen_file}: the file's frozen weights, {size:.0f} MB; keep it beside the checkpoint")
    for reason in dict.fromkeys(done.left_out.values()):
        count = sum(r == reason for r in done.left_out.values())
        print(f"  not part of the network: {count} tensors ({reason})")
    if done.dropped:
        print(f"  not converted: {', '.join(done.dropped)}")
    print(f"use it:\n{_how_to_use(target, done)}")


def _how_to_use(target: str, done: Conversion) -> str:
    """Commands for the next step, which depends on the stage."""
    if done.config.object_scores:
        return (
            f"  python scripts/demo.py checkpoint={target} input=video.mp4 'text=[\"the horse jumping\"]'\n"
            f"  python scripts/infer.py experiment=mevis checkpoint={target}      # or ytvos, davis"
        )
    frozen = done.config.text_encoder
    text = (
        f" model.text_encoder.checkpoint={done.frozen_file}" if frozen.checkpoint and done.frozen_file else ""
    )
    return (
        f"  python scripts/infer.py experiment=refcoco checkpoint={target}\n"
        f"  python scripts/train.py experiment=mevis pretrained={target} \\\n"
        f"    model.backbone.checkpoint=checkpoints/sam2_hiera_base_plus.pt{text}      # or ytvos\n"
        "  Finetuning takes what object scores need from SAM 2's own file: image pretraining has none."
    )


def _on(switch: bool) -> str:
    return "on" if switch else "off"


if __name__ == "__main__":
    main()
