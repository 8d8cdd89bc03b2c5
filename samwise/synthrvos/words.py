"""The words of the grammar, by what they say."""

from __future__ import annotations

ANYTHING = ("object", "shape", "thing")
PATTERN_NOUN = {"striped": "stripes", "dotted": "dots", "checkered": "checks"}
PLURALS = {"cross": "crosses"}
SMALL_WORDS = {"small": ("small", "little"), "large": ("large", "big")}

GERUNDS = {
    "left": ("moving left", "moving to the left", "going left", "sliding to the left"),
    "right": ("moving right", "moving to the right", "going right", "sliding to the right"),
    "up": ("moving up", "going up", "rising", "moving upwards"),
    "down": ("moving down", "going down", "falling", "moving downwards"),
    "spinning": ("spinning", "rotating", "spinning around itself"),
    "growing": ("growing", "getting bigger", "becoming larger"),
    "shrinking": ("shrinking", "getting smaller", "becoming smaller"),
    "bouncing": ("bouncing", "bouncing up and down", "jumping up and down"),
    "swaying": ("swaying", "moving from side to side", "swinging left and right"),
    "circling": ("circling", "moving in a circle", "going around in circles"),
    "still": ("standing still", "staying in place", "resting"),
}
VERBS = {  # after "to"; for "back" after "that"
    "left": ("move left", "go left", "slide to the left"),
    "right": ("move right", "go right", "slide to the right"),
    "up": ("move up", "go up", "rise"),
    "down": ("move down", "go down", "fall"),
    "spinning": ("spin", "rotate"),
    "growing": ("grow", "get bigger"),
    "shrinking": ("shrink", "get smaller"),
    "bouncing": ("bounce", "jump up and down"),
    "swaying": ("sway", "move from side to side"),
    "circling": ("circle", "move in a circle", "go around in circles"),
    "back": ("turns back", "goes back the other way"),
}
ADJECTIVES = {
    "spinning": "spinning",
    "growing": "growing",
    "shrinking": "shrinking",
    "bouncing": "bouncing",
    "swaying": "swaying",
    "circling": "circling",
    "still": "motionless",
    "up": "rising",
    "down": "falling",
}
SIDEMOST = {"left": "leftmost", "right": "rightmost", "top": "topmost", "bottom": "lowest"}
# Before the noun, by the clause's name and value.
BEFORE = {
    **{f"farthest {side}": (word,) for side, word in SIDEMOST.items()},
    "extreme_size largest": ("largest", "biggest"),
    "extreme_size smallest": ("smallest", "littlest"),
    **{f"does {motion}": (word,) for motion, word in ADJECTIVES.items()},
}
NUMBERS = {
    0: ("all {}", "all the {}"),
    1: ("the {}",),
    2: ("the two {}", "both {}"),
    3: ("the three {}",),
    4: ("the four {}",),
}

# After the noun, by the clause's name, or its name and value.
AFTER = {
    "side middle": ("in the middle", "in the center"),
    "side": ("{at} the {value}", "{at} the {value} of the picture", "near the {value} side"),
    "corner": ("in the {value} corner",),
    "farthest": ("closest to the {value} side", "nearest to the {value}"),
    "extreme_size largest": ("that {are} bigger than all the others",),
    "extreme_size smallest": ("that {are} smaller than all the others",),
    "beside left": ("to the left of {other}", "left of {other}"),
    "beside right": ("to the right of {other}", "right of {other}"),
    "beside top": ("above {other}", "over {other}"),
    "beside bottom": ("below {other}", "under {other}"),
    "nearest nearest": ("closest to {other}", "nearest to {other}", "next to {other}"),
    "nearest farthest": ("farthest from {other}", "far away from {other}"),
    "does still": (
        "{gerund}",
        "that never move{s}",
        "that stay{s} still",
        "that keep{s} still",
        "that {do} not move",
    ),
    "does": ("{gerund}", "that {are} {gerund}", "that keep{s} {gerund}"),
    "starts back": ("that {verb}", "that {verb} later", "that {verb} after a while"),
    "starts": (
        "that starts {gerund} later",
        "that starts to {verb} after a while",
        "that begins to {verb} later",
        "that suddenly starts {gerund}",
        "that starts {gerund}",
        "that begins {gerund} after a while",
    ),
    "stops": (
        "that stops",
        "that stops moving",
        "that stops later",
        "that comes to rest",
        "that stops after a while",
    ),
    "enters": (
        "that enters{from_side}",
        "that comes in{from_side}",
        "that enters the scene{from_side}",
        "that comes into view{from_side}",
        "entering the scene{from_side}",
        "coming into view{from_side}",
        "that appears later{from_side}",
    ),
    "leaves": (
        "that leaves{at_side}",
        "that leaves the scene{at_side}",
        "that goes out of view{at_side}",
        "that moves out of the picture{at_side}",
        "leaving the scene{at_side}",
        "going out of view{at_side}",
    ),
    "returns": ("that disappears and comes back",),
    "behind": (
        "that goes behind {other}",
        "that passes behind {other}",
        "moving behind {other}",
        "that is hidden behind {other} for a while",
        "that disappears behind {other}",
    ),
    "hidden": (
        "that is hidden for a while",
        "that disappears and comes back",
        "that gets hidden and appears again",
    ),
}
