"""One synthetic video (or image) from its seed: frames, masks and sentences."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, field

import numpy as np

from samwise.errors import UserError
from samwise.synthrvos.expressions import Statement, statements
from samwise.synthrvos.motion import MOTIONS
from samwise.synthrvos.planning import GROUPS, draw_scene
from samwise.synthrvos.queries import KINDS, STATIC
from samwise.synthrvos.render import render, visible_masks
from samwise.synthrvos.scene import Appearance
from samwise.synthrvos.world import World, measure

# Raise it whenever the same seed gives other data.
VERSION = 1
SHORTEST = 120  # frames of a long video

# Relative frequency of the kinds among the sentences that aren't bound to a scene's own feature.
_WEIGHTS = {
    "appearance": 1.0,
    "position": 0.8,
    "relation": 0.9,
    "motion": 1.0,
    "late_motion": 1.5,
    "multiple": 0.8,
    "entering": 1.5,
    "leaving": 1.5,
    "occluded": 2.0,
}


@dataclass(frozen=True)
class VideoSettings:
    """What decides a video's content, apart from its seed. Pairs are (least, most), both included.

    Attributes:
        width: Pixels.
        height: Pixels.
        frames: Frames per video.
        expressions: Sentences per video.
        objects: Most objects in a video.
        kinds: Kinds of sentences that are said, and that scenes are made for; None for all.
        motions: Motions that sentences speak of; None for all. Scenes have others too.
        length: About how many frames long videos have, in place of ``frames``; None for short ones.
    """

    width: tuple[int, int] = (128, 128)
    height: tuple[int, int] = (124, 124)
    frames: tuple[int, int] = (20, 32)
    expressions: tuple[int, int] = (3, 6)
    objects: int = 5
    kinds: tuple[str, ...] | None = None
    motions: tuple[str, ...] | None = None
    length: int | None = None

    def check(self) -> None:
        """Refuses what can't be drawn.

        Raises:
            UserError: With the setting's name.
        """
        for name, least in (("width", 64), ("height", 64), ("frames", 18), ("expressions", 1)):
            pair = getattr(self, name)
            if len(pair) != 2 or not least <= pair[0] <= pair[1]:
                raise UserError(f"{name}={list(pair)}: give [least, most] with {least} <= least <= most")
        if not 3 <= self.objects <= 5:
            raise UserError(f"objects={self.objects}: choose 3, 4 or 5")
        if self.length is not None:
            if not SHORTEST <= self.length <= 3000:
                raise UserError(f"length={self.length}: choose {SHORTEST} to 3000 frames")
            if self.kinds is not None or self.motions is not None:
                raise UserError(
                    "long videos (length=...) have sentences of every kind: leave out kinds and motions"
                )
        for name, known in (("kinds", KINDS), ("motions", MOTIONS)):
            chosen = getattr(self, name)
            if chosen is not None and (not chosen or set(chosen) - set(known)):
                raise UserError(f"{name}={list(chosen)}: choose some of {', '.join(known)}, or null for all")

    def to_dict(self) -> dict[str, object]:
        settings = {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }
        # Data sets made before there was a choice don't speak of it.
        return {name: value for name, value in settings.items() if value is not None}


@dataclass(frozen=True)
class SyntheticVideo:
    """A video with its truth.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        masks: (T, K, H, W) bool, the visible pixels of each object.
        statements: The sentences; their targets index the K objects.
        world: What was measured.
    """

    frames: np.ndarray = field(repr=False)
    masks: np.ndarray = field(repr=False)
    statements: list[Statement]
    world: World = field(repr=False)

    @property
    def looks(self) -> tuple[Appearance, ...]:
        """K appearances."""
        return self.world.looks


def seeded(seed: int, split: str, index: int) -> np.random.Generator:
    """The video's own source of randomness, the same whoever draws it and in whatever order."""
    return np.random.default_rng([seed, zlib.crc32(split.encode()), index])


def make_video(
    seed: int, split: str, index: int, settings: VideoSettings | None = None, still: bool = False
) -> SyntheticVideo:
    """Draws a video and what can be said about it.

    Args:
        seed: The data set's seed.
        split: The split's name; splits share nothing.
        index: Number of the video in the split.
        settings: Sizes and lengths.
        still: Make a single image, with sentences of appearance, position and relation only.
    """
    settings = settings or VideoSettings()
    rng = seeded(seed, split, index)
    kinds = {
        kind: _WEIGHTS[kind]
        for kind in (STATIC if still else KINDS)
        if settings.kinds is None or kind in settings.kinds
    }
    if not kinds:
        raise UserError(f"kinds={list(settings.kinds or ())}: images need one of {', '.join(STATIC)}")
    names = [name for name in GROUPS if name in kinds]
    while True:
        width, height, frames, count = (
            int(rng.integers(low, high + 1))
            for low, high in (settings.width, settings.height, settings.frames, settings.expressions)
        )
        # Features take turns, so that small splits have some of everything.
        first = names[index % len(names)] if names else None
        features = (first, names[int(rng.integers(len(names)))]) if first else ()
        scene = draw_scene(rng, height, width, 1 if still else frames, features, settings.objects)
        pixels, layers = render(scene)
        masks = visible_masks(scene, layers)
        world = measure(scene, layers, masks)
        found = statements(world, rng, count, kinds, features, settings.motions)
        said = {statement.query.kind for statement in found}
        if len(found) >= settings.expressions[0] and (first is None or first in said):
            return SyntheticVideo(pixels, masks, found, world)
