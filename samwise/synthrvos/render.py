"""Draws a scene: frames, and which object every pixel belongs to."""

from __future__ import annotations

import cv2
import numpy as np

from samwise.synthrvos.scene import Scene, SceneObject
from samwise.synthrvos.vocabulary import OUTLINES, REACH, paint

SUPERSAMPLE = 4


def render(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Draws every frame.

    Returns:
        frames: (T, H, W, 3) uint8 RGB.
        layers: (T, K, H, W) bool, the whole in-frame mask of each of the K objects, occluded parts included.
    """
    frames = _background(scene)
    layers = np.zeros((scene.frames, len(scene.objects), scene.height, scene.width), dtype=bool)
    states = [o.states(scene.frames, scene.unit) for o in scene.objects]
    for k in back_to_front(scene):
        tones = scene.objects[k].tones(scene.frames)
        for t in range(scene.frames):
            _draw(frames[t], layers[t, k], scene.objects[k], states[k][t], float(tones[t]))
    return np.clip(frames + 0.5, 0, 255).astype(np.uint8), layers


def back_to_front(scene: Scene) -> list[int]:
    """Object numbers, the farthest first."""
    return sorted(range(len(scene.objects)), key=lambda k: -scene.objects[k].depth)


def visible_masks(scene: Scene, layers: np.ndarray) -> np.ndarray:
    """What remains of each object once the nearer ones cover it: (T, K, H, W) bool."""
    visible, covered = layers.copy(), np.zeros_like(layers[:, 0])
    for k in reversed(back_to_front(scene)):
        visible[:, k] &= ~covered
        covered |= layers[:, k]
    return visible


def _draw(frame: np.ndarray, layer: np.ndarray, item: SceneObject, state: np.ndarray, tone: float) -> None:
    """Paints an object over ``frame`` (H, W, 3 float32) and marks its pixels in ``layer``."""
    x, y, angle, diameter = state
    height, width = layer.shape
    reach = REACH * diameter + 1
    x0, x1 = max(int(x - reach), 0), min(int(x + reach) + 2, width)
    y0, y1 = max(int(y - reach), 0), min(int(y + reach) + 2, height)
    if x0 >= x1 or y0 >= y1:
        return
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    rotation = np.array([[cos, -sin], [sin, cos]])
    # Pixel i covers [i, i + 1); fillPoly's pixel i is centred on i, hence the half pixel.
    outlines = [
        ((outline @ rotation.T * diameter + (x - x0, y - y0)) * SUPERSAMPLE - 0.5) * 16
        for outline in OUTLINES[item.appearance.shape]
    ]
    fine = np.zeros(((y1 - y0) * SUPERSAMPLE, (x1 - x0) * SUPERSAMPLE), dtype=np.uint8)
    cv2.fillPoly(fine, [np.round(outline).astype(np.int32) for outline in outlines], 255, shift=4)
    alpha = cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    layer[y0:y1, x0:x1] |= alpha >= 0.5

    v, u = np.mgrid[y0:y1, x0:x1].astype(np.float32) + 0.5
    local_u = ((u - x) * cos + (v - y) * sin) / diameter
    local_v = (-(u - x) * sin + (v - y) * cos) / diameter
    pattern = _pattern(item.appearance.texture, local_u, local_v, diameter)[..., None]
    main, second = paint(item.appearance.colour)
    patch = frame[y0:y1, x0:x1]
    patch += alpha[..., None] * (tone * (main + pattern * (second - main)) - patch)


def _pattern(texture: str, u: np.ndarray, v: np.ndarray, diameter: float) -> np.ndarray:
    """How much of the second tone each point gets, in 0..1; edges are one pixel soft."""
    if texture == "striped":
        wave = np.sin(2 * np.pi * 2.75 * u)
        edge = diameter / (2 * np.pi * 2.75)
    elif texture == "checkered":
        wave = np.sin(2 * np.pi * 1.75 * u) * np.sin(2 * np.pi * 1.75 * v)
        edge = diameter / (2 * np.pi * 1.75)
    elif texture == "dotted":
        wave = 0.29 - np.hypot((u * 4 + 0.5) % 1 - 0.5, (v * 4 + 0.5) % 1 - 0.5)
        edge = diameter / 4
    else:
        return np.zeros_like(u)
    return np.clip(wave * edge + 0.5, 0, 1)


def _muted(rng: np.random.Generator) -> np.ndarray:
    """A colour no object has: little saturation, neither bright nor dark. (3,) float32 RGB."""
    hsv = np.array(
        [[[rng.uniform(0, 360), rng.uniform(0.05, 0.25), rng.uniform(0.38, 0.68)]]], dtype=np.float32
    )
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise in 0..1 with features of about ``cell`` pixels."""
    rows, columns = max(int(height / cell), 2) + 2, max(int(width / cell), 2) + 2
    coarse = rng.uniform(0, 1, (rows, columns)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def _background(scene: Scene) -> np.ndarray:
    """A texture that drifts slower than anything that is said to move: (T, H, W, 3) float32."""
    rng = np.random.default_rng(scene.background)
    drift = rng.uniform(0, 0.005) * scene.unit
    heading = rng.uniform(0, 2 * np.pi)
    step = drift * np.array([np.cos(heading), np.sin(heading)])
    pad = int(np.ceil(drift * scene.frames)) + 2
    height, width = scene.height + 2 * pad, scene.width + 2 * pad
    unit = scene.unit
    v, u = np.mgrid[0:height, 0:width].astype(np.float32) / unit
    tones = [_muted(rng) for _ in range(3)]
    turn = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(turn) * u + np.sin(turn) * v
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    kind = rng.choice(["gradient", "noise", "stripes", "blobs"])
    if kind == "noise":
        detail = 0.5 * _noise(rng, height, width, 0.03 * unit) + 0.5 * _noise(rng, height, width, 0.12 * unit)
    elif kind == "stripes":
        detail = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(4, 9) * (np.sin(turn) * u - np.cos(turn) * v))
    elif kind == "blobs":
        detail = np.clip(4 * (_noise(rng, height, width, 0.15 * unit) - 0.5) + 0.5, 0, 1)
    else:
        detail = _noise(rng, height, width, 0.4 * unit)
    strength = rng.uniform(0.4, 0.9)
    texture = tones[0] + ramp[..., None] * (tones[1] - tones[0])
    texture = texture + strength * detail[..., None] * (tones[2] - texture)
    texture += (8 * (_noise(rng, height, width, 2.0) - 0.5))[..., None]
    texture = np.clip(texture, 0, 255).astype(np.float32)
    frames = np.empty((scene.frames, scene.height, scene.width, 3), dtype=np.float32)
    for t in range(scene.frames):
        shift = pad + step * t
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], dtype=np.float32)
        frames[t] = cv2.warpAffine(
            texture,
            matrix,
            (scene.width, scene.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
    return frames
