"""What happens in long videos: each story is an object or two with an event in time.

Stories only make a sentence likely; whether it holds is decided on what was drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from samwise.synthrvos.grammar import pick
from samwise.synthrvos.long.cast import Role, change_slowly
from samwise.synthrvos.long.courses import Body, Frame, body, entrance, excursion, passes, waypoints
from samwise.synthrvos.motion import DIRECTIONS, OPPOSITE, Phase
from samwise.synthrvos.planning import Plan, distinct
from samwise.synthrvos.scene import Appearance
from samwise.synthrvos.vocabulary import REACH, SMALL

AWAY = ((20, 49), (50, 99), (100, 144))  # frames out of sight; what is longest takes a little more to come in
LASTING = ("still", "spinning", "swaying", "bouncing", "circling")  # what can go on for hundreds of frames
NEAR_COLOURS = {"red": "orange", "orange": "yellow", "yellow": "white", "blue": "purple", "purple": "black"}
NEAR_COLOURS |= {"white": "yellow", "black": "blue", "green": "blue"}
NEAR_SHAPES = {"circle": "oval", "oval": "circle", "square": "cross", "cross": "star", "star": "cross"}
NEAR_SHAPES |= {"triangle": "heart", "heart": "triangle", "ring": "circle"}


@dataclass
class Cast(Plan):
    """A scene in the making; ``drafts`` are its roles.

    Attributes:
        away: Shortest and longest time out of sight.
        leads: Numbers of the roles that events happen to.
    """

    drafts: list[Role] = field(default_factory=list)  # type: ignore[assignment]
    away: tuple[int, int] = AWAY[0]
    leads: set[int] = field(default_factory=set)

    @property
    def frame(self) -> Frame:
        return Frame(self.width, self.height, self.frames)

    def absence(self) -> int:
        """Frames out of sight, as many as the video has room for."""
        low, high = self.away
        return int(self.rng.integers(low, max(min(high, self.frames // 2), low) + 1))

    def lasting(self, *phases: Phase, small: bool | None = None) -> tuple[Appearance, Body]:
        """An object of new looks that does these things, or something that can go on for ever."""
        rng = self.rng
        if not phases:
            phases = (self.phase("still" if rng.random() < 0.4 else pick(rng, LASTING)),)
        diameter, is_small = (rng.uniform(SMALL[0], 0.165), True) if small else self.diameter()
        looks = self.looks(is_small, any(phase.motion == "spinning" for phase in phases))
        return looks, body(diameter, self.frames, *phases)

    def cast(self, looks: Appearance, being: Body, place: Callable[[], np.ndarray | None]) -> Role:
        """One more role."""
        role = Role(looks, being, place, self.angle())
        self.drafts.append(role)
        return role

    def at_home(self, looks: Appearance, being: Body) -> Role:
        """One more role that stays in the picture."""

        def place() -> np.ndarray | None:
            home = being.home(self.rng, self.frame)
            return None if home is None else np.tile(home, (self.frames, 1))

        return self.cast(looks, being, place)

    def look_alike(self, looks: Appearance) -> Appearance:
        """The same looks but for a near colour or shape; the same looks where that is taken."""
        changed = (
            replace(looks, colour=NEAR_COLOURS[looks.colour]),
            replace(looks, shape=NEAR_SHAPES[looks.shape]),
        )
        near = pick(self.rng, changed)
        taken = {(role.looks.shape, role.looks.colour) for role in self.drafts}
        return looks if (near.shape, near.colour) in taken else near

    def intrude(self, looks: Appearance, being: Body, between: tuple[int, int]) -> None:
        """One more that comes in while another is out of sight."""
        first, last = between
        rng, reach = self.rng, being.reach

        def place() -> np.ndarray | None:
            home = being.home(rng, self.frame)
            at = int(rng.integers(first, max(last - 12, first + 1)))
            return None if home is None else entrance(rng, self.frame, reach, home, at)

        self.cast(looks, being, place)


def _returning(cast: Cast, intruder: str) -> None:
    """One that leaves and comes back; meanwhile a look-alike comes in.

    ``intruder`` says what that looks like: "twin" the same, "near" the same but for a word; "" is none.
    """
    rng, frame = cast.rng, cast.frame
    looks, being = cast.lasting()
    away = cast.absence()
    latest = cast.frames - away - 110
    if latest < 20:
        away, latest = max(20, cast.frames - 130), 20
    leaves_at = int(rng.integers(20, max(latest, 21) + 1))

    def place() -> np.ndarray | None:
        first, second = being.home(rng, frame), being.home(rng, frame)
        if first is None or second is None:
            return None
        found = excursion(
            rng, frame, being.reach, (first, first if rng.random() < 0.6 else second), leaves_at, away
        )
        return None if found is None else found[0]

    cast.leads.add(len(cast.drafts))
    role = cast.cast(looks, being, place)
    window = leaves_at + 35, leaves_at + 35 + away
    if intruder == "near":
        other = cast.look_alike(looks)
        cast.intrude(other, being if other == looks else cast.lasting()[1], window)
    elif intruder == "twin":
        cast.intrude(looks, being, window)
        cast.drafts[-1].angle = role.angle
    if intruder != "twin" and rng.random() < 0.7:
        change_slowly(role, rng)


def returning_twin(cast: Cast) -> None:
    """Leaves and comes back; meanwhile one comes in that looks the same."""
    _returning(cast, "twin")


def returning_near(cast: Cast) -> None:
    """Leaves and comes back; meanwhile one comes in that looks almost the same."""
    _returning(cast, "near")


def returning(cast: Cast) -> None:
    """Leaves and comes back, among others."""
    _returning(cast, "")


def hiding(cast: Cast) -> None:
    """Goes behind something large, stays there, and comes out; sometimes a look-alike comes in meanwhile."""
    rng, frame = cast.rng, cast.frame
    screen = replace(cast.looks(False), shape=pick(rng, ("square", "circle")))
    size = rng.uniform(0.38, 0.42) if screen.shape == "square" else rng.uniform(0.35, 0.4)
    number = len(cast.drafts)
    shield = cast.cast(screen, body(size, cast.frames, Phase("still")), lambda: None)
    shield.angle, shield.covers, shield.exempt = 0.0, True, {number + 1}
    looks, being = cast.lasting(Phase("still"), small=True)
    axis = int(rng.integers(2))
    middle = frame.extent / 2
    middle[1 - axis] = rng.uniform(size * REACH + 0.02, frame.extent[1 - axis] - size * REACH - 0.02)
    way = np.zeros(2)
    way[axis] = rng.choice([-1, 1]) * (frame.extent[axis] / 2 - being.reach - 0.02)
    walk = int(abs(way[axis]) / rng.uniform(0.013, 0.02))
    hidden = min(cast.absence(), cast.frames - 2 * walk - 60)
    sets_out = int(rng.integers(15, max(cast.frames - 2 * walk - hidden - 30, 16)))
    far = -way if rng.random() < 0.6 else way
    turns = sets_out + walk, sets_out + walk + max(hidden, 2)
    points = (sets_out, middle + way), (turns[0], middle), (turns[1], middle), (turns[1] + walk, middle + far)
    shield.place = lambda: np.tile(middle, (cast.frames, 1))
    cast.leads.add(number + 1)
    role = cast.cast(looks, being, lambda: waypoints(cast.frames, *points))
    role.exempt = {number}
    if rng.random() < 0.6:
        cast.at_home(looks, being).angle = role.angle
    else:
        cast.intrude(cast.look_alike(looks), being, turns)


def late(cast: Cast) -> None:
    """Two that look the same and do the same, until late one of them changes."""
    rng = cast.rng
    later = pick(rng, (*DIRECTIONS, *LASTING))
    onset = int(rng.uniform(0.4, 0.8) * cast.frames)
    if later in DIRECTIONS:
        onset = cast.frames - int(rng.integers(30, 45))
    before = cast.phase("still" if later != "still" else "spinning")
    if later not in DIRECTIONS and rng.random() < 0.4:
        other = pick(rng, LASTING)
        before = cast.phase(other) if distinct(other, later) else before
    after = (
        Phase(later, onset, rng.uniform(0.0125, 0.015)) if later in DIRECTIONS else cast.phase(later, onset)
    )
    looks, changing = cast.lasting(before, after)
    cast.leads.add(len(cast.drafts))
    role = cast.at_home(looks, changing)
    role.turns_at = onset
    twin = cast.at_home(looks, body(changing.diameter, cast.frames, before))
    twin.angle = role.angle


def passing(cast: Cast) -> None:
    """Crosses the picture one way again and again; a twin does so the other way."""
    rng, frame = cast.rng, cast.frame
    looks, being = cast.lasting(Phase("still"))
    heading, away = pick(rng, tuple(DIRECTIONS)), cast.absence()
    if rng.random() < 0.5 and cast.away != AWAY[2]:
        others = [d for d in DIRECTIONS if d != heading]
        other = OPPOSITE[heading] if rng.random() < 0.7 else pick(rng, others)
        pause = int(rng.integers(20, 60))
        cast.cast(looks, being, lambda: passes(rng, frame, being.reach, other, pause))
    else:
        cast.at_home(looks, being)
    angle = cast.drafts[-1].angle
    cast.leads.add(len(cast.drafts))
    cast.cast(looks, being, lambda: passes(rng, frame, being.reach, heading, away)).angle = angle


def arriving(cast: Cast) -> None:
    """One that comes in late and stays; a twin is there from the beginning."""
    looks, being = cast.lasting()
    cast.leads.add(len(cast.drafts))
    cast.intrude(looks, being, (int(0.3 * cast.frames), int(0.75 * cast.frames)))
    angle = cast.drafts[-1].angle
    if cast.rng.random() < 0.6:
        cast.at_home(looks, being).angle = angle


def bystander(cast: Cast) -> None:
    """One that stays in the picture, and may change slowly."""
    role = cast.at_home(*cast.lasting())
    if cast.rng.random() < 0.5:
        change_slowly(role, cast.rng)


STORIES: dict[str, Callable[[Cast], None]] = {
    "returning_twin": returning_twin,
    "cut": bystander,  # the event is the camera's
    "hiding": hiding,
    "late": late,
    "returning_near": returning_near,
    "passing": passing,
    "returning": returning,
    "arriving": arriving,
}
