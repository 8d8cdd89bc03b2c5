"""When a target is there and when an answer is: tIoU, vIoU, and how soon a target is found again.

tIoU and vIoU are those of Long-RVOS. S_u are the frames in which truth or prediction show something, and S_i
those in which both do: tIoU = |S_i| / |S_u|, and vIoU = (sum of the IoU over S_i) / |S_u|. Both are 1 where
truth and prediction are empty throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

ABSENCE = 5  # frames; a target that is out of sight for fewer has flickered, not left
FOUND = 0.5  # a target is found where the IoU is larger


@dataclass(frozen=True)
class Return:
    """A target's coming back into sight.

    Attributes:
        frame: The first frame that shows it again.
        absence: Frames it was out of sight before, ``ABSENCE`` or more.
        waited: Frames until the prediction's IoU with it is above ``FOUND``; 0 if it is at once. If it never
            is, all frames until the target's next absence, or until it is seen last.
        found: Whether it ever is.
    """

    frame: int
    absence: int
    waited: int
    found: bool


@dataclass(frozen=True)
class Presence:
    """An expression's figures over time.

    Attributes:
        shown: Frames in which truth or prediction show something, |S_u|.
        both: Frames in which both do, |S_i|.
        overlap: The sum of the IoU over the latter.
        returns: The target's returns after an absence.
    """

    shown: int
    both: int
    overlap: float
    returns: tuple[Return, ...] = ()

    @property
    def tiou(self) -> float:
        """tIoU, in [0, 1]."""
        return self.both / self.shown if self.shown else 1.0

    @property
    def viou(self) -> float:
        """vIoU, in [0, 1]."""
        return self.overlap / self.shown if self.shown else 1.0


def measure_presence(pixels: Sequence[tuple[int, int, int]]) -> Presence:
    """Measures an expression.

    Args:
        pixels: Of each frame, in order, how many pixels the intersection of truth and prediction has, their
            union, and the truth.
    """
    both = [
        intersection / union for intersection, union, true in pixels if true and union - true + intersection
    ]
    returns = []
    for frame, absence, end in _comings_back([true > 0 for _, _, true in pixels]):
        hits = [i for i, (inter, union, _) in enumerate(pixels[frame:end]) if union and inter / union > FOUND]
        returns.append(Return(frame, absence, hits[0] if hits else end - frame, bool(hits)))
    shown = sum(union > 0 for _, union, _ in pixels)
    return Presence(shown, len(both), sum(both), tuple(returns))


def _comings_back(visible: Sequence[bool]) -> Iterator[tuple[int, int, int]]:
    """For each return: its frame, the absence's length, and the frame in which the next one begins."""
    seen = [frame for frame, there in enumerate(visible) if there]
    back = [i for i in range(1, len(seen)) if seen[i] - seen[i - 1] > ABSENCE]
    for i, following in pairwise([*back, len(seen)]):
        yield seen[i], seen[i] - seen[i - 1] - 1, seen[following - 1] + 1
