"""What objects can look like: the names, and the geometry and paint behind them."""

from __future__ import annotations

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "oval")
COLOURS = {  # RGB
    "red": (215, 30, 35),
    "green": (40, 165, 55),
    "blue": (40, 75, 225),
    "yellow": (250, 225, 40),
    "orange": (250, 130, 20),
    "purple": (140, 40, 175),
    "white": (242, 242, 242),
    "black": (22, 22, 22),
}
TEXTURES = ("plain", "striped", "dotted", "checkered")
SIZES = ("small", "large")
SIDES = ("left", "right", "top", "bottom")

SMALL = (0.155, 0.185)  # diameters, as fractions of the frame's shorter side
LARGE = (0.28, 0.36)
REACH = 0.6  # the farthest point of any shape from its centre, in diameters

# A turning circle or ring shows no turn unless it is painted.
ROUND = ("circle", "ring")


def _regular(corners: int, radius: float) -> np.ndarray:
    turn = 2 * np.pi * np.arange(corners) / corners - np.pi / 2
    return radius * np.stack([np.cos(turn), np.sin(turn)], 1)


def _star() -> np.ndarray:
    points = _regular(10, 0.56)
    points[1::2] *= 0.42
    return points


def _cross() -> np.ndarray:
    a, b = 0.5, 0.17
    return np.array(
        [
            (-b, -a),
            (b, -a),
            (b, -b),
            (a, -b),
            (a, b),
            (b, b),
            (b, a),
            (-b, a),
            (-b, b),
            (-a, b),
            (-a, -b),
            (-b, -b),
        ],
        dtype=float,
    )


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.5], 1) / 32


# Outlines of diameter 1 around the origin; the second outline of a ring is its hole.
OUTLINES: dict[str, list[np.ndarray]] = {
    "circle": [_regular(48, 0.5)],
    "square": [0.42 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)],
    "triangle": [_regular(3, 0.56)],
    "star": [_star()],
    "cross": [_cross()],
    "ring": [_regular(48, 0.5), _regular(48, 0.27)],
    "heart": [_heart()],
    "oval": [_regular(48, 0.5) * (1.1, 0.58)],
}


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


# Area of a shape of diameter 1.
AREAS = {shape: _area(outlines[0]) - sum(map(_area, outlines[1:])) for shape, outlines in OUTLINES.items()}


def paint(colour: str) -> tuple[np.ndarray, np.ndarray]:
    """The two tones of a colour, (3,) float RGB each: the second one draws the texture."""
    main = np.array(COLOURS[colour], dtype=np.float32)
    luminance = float(main @ np.array([0.3, 0.59, 0.11], dtype=np.float32))
    second = main * 0.35 if luminance > 105 else main + 0.62 * (255 - main)
    return main, second.astype(np.float32)
