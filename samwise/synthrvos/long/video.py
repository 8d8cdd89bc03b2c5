"""One long video from its seed: frames, masks, sentences, and what happens in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samwise.synthrvos.expressions import Statement
from samwise.synthrvos.grammar import pick
from samwise.synthrvos.long.cast import Role, seat
from samwise.synthrvos.long.events import record
from samwise.synthrvos.long.sentences import long_statements
from samwise.synthrvos.long.stories import AWAY, STORIES, Cast, bystander
from samwise.synthrvos.long.truth import LongWorld
from samwise.synthrvos.render import render, visible_masks
from samwise.synthrvos.scene import Appearance, Scene
from samwise.synthrvos.video import VideoSettings, seeded
from samwise.synthrvos.world import measure

LONGEST = 150  # frames out of sight


@dataclass(frozen=True)
class Take:
    """A scene that is drawn: what the camera shows without a break.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        masks: (T, K, H, W) bool, the visible pixels of each object.
        world: What was measured.
        roles: What was asked for.
        leads: The objects that something happens to.
    """

    frames: np.ndarray = field(repr=False)
    masks: np.ndarray = field(repr=False)
    world: LongWorld = field(repr=False)
    roles: list[Role]
    leads: set[int]


@dataclass(frozen=True)
class LongVideo:
    """A video with its truth.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        masks: (T, K, H, W) bool, the visible pixels of each object, of the scene and then of the other one.
        statements: The sentences; their targets index the K objects.
        looks: K appearances.
        records: For each sentence what happens to its targets, see ``samwise.synthrvos.long.events``.
        cuts: (first, end) of the spans that show another part of the scene.
        world: What was measured in the scene, in frames without the cuts.
    """

    frames: np.ndarray = field(repr=False)
    masks: np.ndarray = field(repr=False)
    statements: list[Statement]
    looks: list[Appearance]
    records: list[dict[str, Any]]
    cuts: list[tuple[int, int]]
    world: LongWorld = field(repr=False)


def make_long_video(seed: int, split: str, index: int, settings: VideoSettings) -> LongVideo:
    """Draws a long video and what can be said about it.

    Args:
        seed: The data set's seed.
        split: The split's name; splits share nothing.
        index: Number of the video in the split; stories and absences take turns.
        settings: Sizes, and ``length``, about which the videos have frames.
    """
    rng = seeded(seed, f"{split} long", index)
    length = settings.length or 0
    story = list(STORIES)[index % len(STORIES)]
    away = AWAY[(index // len(STORIES) + index) % len(AWAY)]
    while True:
        width, height, count = (
            int(rng.integers(low, high + 1))
            for low, high in (settings.width, settings.height, settings.expressions)
        )
        frames = int(rng.integers(round(0.9 * length), round(1.1 * length) + 1))
        cuts = _draw_cuts(rng, frames, away, story)
        there = sum(end - first for first, end in cuts)
        take = _shoot(rng, height, width, frames - there, away, (story, pick(rng, list(STORIES))), settings)
        if take is None:
            continue
        other = _shoot(rng, height, width, there, away, (), settings, take) if there else None
        if there and other is None:
            continue
        statements = long_statements(take.world, other and other.world, rng, count, take.leads)
        if len(statements) < settings.expressions[0] or all(s.targets for s in statements):
            continue
        video = _splice(take, other, cuts, statements)
        if _bounded(video):
            return video


def _bounded(video: LongVideo) -> bool:
    """Whether no target is out of sight for too long."""
    return all(length <= LONGEST for record in video.records for _, length, _ in record["absences"])


def _draw_cuts(
    rng: np.random.Generator, frames: int, away: tuple[int, int], story: str
) -> list[tuple[int, int]]:
    """(first, end) of the spans that show another part of the scene; none in most videos."""
    if story == "cut":
        length = int(rng.integers(away[0], min(away[1], frames // 2) + 1))
    elif rng.random() < 0.3 and frames >= 200:
        length = int(rng.integers(20, 50))
    else:
        return []
    first = int(rng.integers(40, max(frames - length - 40, 41)))
    return [(first, first + length)]


def _shoot(
    rng: np.random.Generator,
    height: int,
    width: int,
    frames: int,
    away: tuple[int, int],
    stories: tuple[str, ...],
    settings: VideoSettings,
    before: Take | None = None,
) -> Take | None:
    """Draws a scene with these stories, the first for certain; None where it has no room for them.

    Objects look unlike those of the take ``before``.
    """
    unit = min(height, width)
    cast = Cast(rng, height / unit, width / unit, frames, away=away)
    cast.drafts += before.roles if before else []
    others = len(cast.drafts)
    most = others + 3 if before else settings.objects
    for k, story in enumerate(stories):
        known = len(cast.drafts)
        leads = set(cast.leads)
        STORIES[story](cast)
        if k and len(cast.drafts) > most:
            del cast.drafts[known:]
            cast.leads = leads
    for _ in range(most - int(rng.integers(0, 2)) - len(cast.drafts)):
        bystander(cast)
    roles, leads = cast.drafts[others:], cast.leads or {0}
    objects = seat(roles, rng, cast.frame, unit)
    if objects is None:
        return None
    scene = Scene(height, width, frames, tuple(objects), int(rng.integers(2**31)))
    pixels, layers = render(scene)
    masks = visible_masks(scene, layers)
    world = LongWorld.of(measure(scene, layers, masks))
    return Take(pixels, masks, world, roles, leads)


def _splice(
    take: Take, other: Take | None, cuts: list[tuple[int, int]], statements: list[Statement]
) -> LongVideo:
    """The scene with the cuts in it, in which its own time stands still."""
    frames, masks, roles = take.frames, take.masks, take.roles
    looks = list(take.world.looks)
    if other is not None:
        (first, _), *_ = cuts
        frames = np.concatenate([frames[:first], other.frames, frames[first:]])
        spans = np.zeros(len(frames), bool)
        spans[first : first + len(other.frames)] = True
        masks = np.zeros((len(frames), len(looks) + other.world.count, *take.masks.shape[2:]), bool)
        masks[~spans, : len(looks)], masks[spans, len(looks) :] = take.masks, other.masks
        looks += other.world.looks
        roles = roles + other.roles
    slow, elsewhere = [role.slow for role in roles], other and other.world
    records = [record(said, masks, take.world, elsewhere, cuts, slow) for said in statements]
    return LongVideo(frames, masks, statements, looks, records, cuts, take.world)
