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
INFINITIVES = {
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
    "back": ("turn back", "go back the other way"),
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
BESIDE = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "top": ("above", "over"),
    "bottom": ("below", "under"),
}
SUPERLATIVE = {"left": "leftmost", "right": "rightmost", "top": "topmost", "bottom": "lowest"}
SIZE_SUPERLATIVE = {"largest": ("largest", "biggest"), "smallest": ("smallest", "littlest")}
NUMBERS = {
    2: ("the two {}", "both {}"),
    3: ("the three {}",),
    4: ("the four {}",),
    0: ("all {}", "all the {}"),
}
