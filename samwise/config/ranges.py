"""The type and range of every number in the configs, declared once and checked in all programs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from samwise.errors import UserError


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``.

    Attributes:
        whole: Whether only whole numbers count.
        low: The smallest.
        high: The largest.
        above: Whether ``low`` itself is too small.
        below: Whether ``high`` itself is too large.
    """

    whole: bool
    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        large_enough = value > self.low if self.above else value >= self.low
        small_enough = value < self.high if self.below else value <= self.high
        return large_enough and small_enough and abs(value) <= sys.float_info.max  # false for NaN

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        if math.isinf(self.high):
            return f"{kind}, {low}"
        high = f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        return f"{kind}, {low} and {high}"


_COUNT, _SOME = Range(True, 0, 1_000_000_000), Range(True, 1, 1_000_000_000)
_SIDE = Range(True, 1, 65_536)
_POSITIVE, _WEIGHT = Range(False, 0, above=True), Range(False, 0)
_SHARE, _RATE = Range(False, 0, 1), Range(False, 0, 1, below=True)

# Keys by their last name or, where one name means two things, by more of their path. In a list, each number.
_KEYS = (
    # how much
    (
        _COUNT,
        "train valid_u valid images holdout save_every validate_every pictures_every warmup_steps "
        "profile_steps pointers window cooldown frame examples limits.waiting retries stage_layers "
        "anchors anchor_gap lost states_mb",
    ),
    (
        _SOME,
        "batch_size max_steps log_every keep_last lr_drop_step resamples clip_length max_frames "
        "max_expressions max_boxes step stride limit_videos limit_frames limit_items grad_accumulation "
        "repeats expressions_per_clip every frames objects expressions sentences strip columns annotations "
        "length confirm_clips clips rounds clicks data.videos given.videos cost_videos "
        "held_out per_step at max_tokens all_uploads_mb visitor_uploads_mb characters visitor_connections "
        "editing_jobs editing_mb limits.corrections",
    ),
    (
        _SIDE,
        "limits.upload_mb limits.smallest_side limits.side width height canvas dim heads ffn rank "
        "patch_sizes scale",
    ),
    (Range(True, 0, 256), "num_workers workers"),
    (Range(True, 1, 256), "jobs visitor_jobs"),
    (Range(True, 0, 2**32 - 1), "seed seeds"),
    (Range(True, 0, 65_535), "port"),
    (Range(True, 1, 255), "interrupted_status"),
    (Range(True, 0, 3), "annotator"),
    (Range(True, 0, 1_000), "confirm"),  # frames that wait in memory
    # how fast, how long
    (
        _POSITIVE,
        "epochs max_minutes max_seconds seconds keep_minutes eps clip_norm alpha lam model.baseline.scale "
        "stop_loss opening_seconds editing_minutes",
    ),
    (Range(False, 0, 100, above=True), "lr"),
    (Range(False, 0, 1_000, above=True), "fps"),
    # weights and shares
    (_WEIGHT, "focal dice cme area_change object_score cme_different rest weight_decay sentence weight"),
    (
        _SHARE,
        "opacity flip brightness contrast saturation masked union final_lr_scale trusted_certainty "
        "agreement enter leave in_video",
    ),
    (Range(False, 0, 1, above=True), "min_scale stop_jf"),
    (_RATE, "dropout cross_dropout threshold betas"),
)
RANGES: dict[str, Range] = {key: wanted for wanted, keys in _KEYS for key in keys.split()}

# Keys that are true or false, by last name, or the last two where a name means two things; "." is the top.
_SWITCHES = frozenset(
    "appearing channels_last check corner_masks crossed enabled frame_repeats freeze_batch_norm "
    "frozen_dropout hsa keep_for_lone_frame later_stage lowercase .masks merge motion object_scores "
    "only_table overwrite padding_attended text_encoder.pretrained random_frozen released_case resume "
    "start_may_miss stretched_loss submission tested_images trainable tva vta zips".split()
)
_FILES_TOO = ("expressions", "frames")  # of tools/check_submission.py


def check_ranges(config: Mapping[str, Any], at: str = "") -> None:
    """Refuses numbers that are of the wrong kind, too small, too large, infinite or NaN.

    Args:
        config: A config, nested.
        at: The key that holds it, if it is part of a config.

    Raises:
        UserError: One is refused; the message has the key, the value and what would be right.
    """
    for names, value in _leaves(config, (at,) if at else ()):
        path, last, last_two = ".".join(names), names[-1], ".".join(names[-2:])
        wanted = RANGES.get(path) or RANGES.get(last_two) or RANGES.get(last)
        elsewhere = isinstance(value, str) and ("${" in value or value == "???")  # another key's, or missing
        if value is None or elsewhere:
            continue
        is_switch = not _SWITCHES.isdisjoint({last, last_two, f".{path}"})
        if is_switch and not isinstance(value, bool):
            raise UserError(f"{path}={value} must be true or false")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{path}={value} must be {wanted or 'a finite number'}")
        is_file = isinstance(value, str) and last in _FILES_TOO
        if wanted is not None and value not in wanted and not is_file:
            raise UserError(f"{path}={value} must be {wanted}")


def _leaves(node: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values with the keys that lead to them; a key may have dots itself (``optimizer.lr_scale``)."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, (*names, str(key)))
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _leaves(value, names)
    elif names:
        yield names, node
