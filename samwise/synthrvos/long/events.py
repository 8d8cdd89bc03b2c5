"""What a long video's record says of each sentence, measured in the masks.

``events.json`` lies beside the expression file::

    {"videos": {name: {"frames": 300, "cuts": [[first, end], ...], "expressions": {id: {
        "absences": [[first, frames, "away" | "hidden" | "cut"], ...],
        "first": 0, "last": 299, "true_from": 210,
        "look_alikes": [{"object": 3, "enters": 95, "while_away": true}, ...],
        "events": ["leaves and returns", ...]}}}}}

Absences are the spans without a pixel of the target between two that show one. ``first`` and ``last`` are the
frames that show it first and last; null where the sentence has no target. From ``true_from`` on one can know
whom the sentence means. Look-alikes are objects that a hasty reader takes for the target, each with the first
frame that shows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from samwise.synthrvos.expressions import Statement
from samwise.synthrvos.long.sentences import rivals
from samwise.synthrvos.long.truth import LongWorld, runs

SLOW = {"size": "changes size", "look": "changes shade", "turn": "turns slowly"}


def record(
    statement: Statement,
    masks: np.ndarray,
    world: LongWorld,
    elsewhere: LongWorld | None,
    cuts: list[tuple[int, int]],
    slow: list[set[str]],
) -> dict[str, Any]:
    """What happens to a sentence's targets.

    Args:
        statement: The sentence.
        masks: (T, K, H, W) bool, of the scene's objects and then the other scene's.
        world: The scene.
        elsewhere: What cuts show.
        cuts: (first, end) of each.
        slow: For each object what of it changes slowly.
    """
    seen = masks.any((2, 3)).T  # K, T
    targets = list(statement.targets)
    shown = np.flatnonzero(seen[targets].any(0))
    first, last = (int(shown[0]), int(shown[-1])) if len(shown) else (None, None)
    absences = []
    for a, b in runs(~seen[targets].any(0)) if len(shown) else ():
        if a > 0 and b < seen.shape[1]:
            absences.append([a, b - a, _cause(a, b, world, targets, cuts)])
    alike = rivals(statement.query, statement.targets, world)
    if elsewhere is not None:
        alike += [world.count + k for k in rivals(statement.query, (), elsewhere)]
    look_alikes = []
    for k in alike:
        if len(frames := np.flatnonzero(seen[k])):
            enters = int(frames[0])
            away = any(a <= enters < a + length for a, length, _ in absences)
            look_alikes.append({"object": k, "enters": enters, "while_away": away})
    true_from = _true_from(statement, world, cuts, first)
    events = {"away": "leaves and returns", "hidden": "is hidden", "cut": "cut"}
    happens = [name for cause, name in events.items() if cause in {absence[2] for absence in absences}]
    happens += ["look-alike enters while away"] if any(other["while_away"] for other in look_alikes) else []
    happens += ["enters"] if first else []
    happens += ["leaves"] if last is not None and last < seen.shape[1] - 1 else []
    happens += ["true late"] if true_from else []
    happens += [name for key, name in SLOW.items() if any(key in slow[k] for k in targets)]
    return {
        "absences": absences,
        "first": first,
        "last": last,
        "true_from": true_from,
        "look_alikes": look_alikes,
        "events": happens if targets else ["no target"],
    }


def video_time(frame: int, cuts: list[tuple[int, int]]) -> int:
    """The video's frame that shows a frame of the scene, whose time stands still in cuts."""
    for first, end in cuts:
        frame += end - first if frame >= first else 0
    return frame


def _cause(a: int, b: int, world: LongWorld, targets: list[int], cuts: list[tuple[int, int]]) -> str:
    """Why frames ``a`` to ``b`` don't show the targets; a cut that falls into it is not the reason."""
    spans = [range(max(first, a), min(end, b)) for first, end in cuts if first < b and a < end]
    cut = {frame for span in spans for frame in span}
    there = [frame for frame in range(a, b) if frame not in cut]
    if not there or max(targets) >= world.count:
        return "cut"
    before = sum(end - first for first, end in cuts if end <= there[0])
    return "away" if (world.inside[targets, there[0] - before] <= 0).any() else "hidden"


def _true_from(statement: Statement, world: LongWorld, cuts: list[tuple[int, int]], first: int | None) -> int:
    """The frame from which the sentence can be known to be true."""
    clause = statement.query.clause
    if not statement.targets or first is None:
        return 0
    if clause is None:
        return first
    (target, *_) = statement.targets
    frame, inside = first, world.inside[target]
    if clause.name in ("starts", "stops"):
        frame = video_time(world.onsets[target] or 0, cuts)
    elif clause.name in ("leaves", "returns", "hidden"):
        gone = (inside <= 0) if clause.name != "hidden" else (world.visible[target] == 0)
        gone[: int((~gone).argmax())] = False
        frame = video_time(int(gone.argmax()), cuts)
    return frame
