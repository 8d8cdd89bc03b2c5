"""Videos to try the page with: made anew by the synthetic generator, the same ones each time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from samwise.web.work import write_jpeg

_SEED, _SPLIT, _FPS, _SENTENCES = 5, "web", Fraction(8), 3  # a split of its own: training never sees them
_FIRST = 9  # a video whose three sentences the small default gets right: J of 0.92, 0.90 and 0.94


@dataclass
class Example:
    """A video with sentences.

    Attributes:
        video: The file.
        picture: One of its frames.
        texts: Sentences that are true of it.
    """

    video: Path
    picture: Path
    texts: list[str]


def make_examples(folder: Path, count: int) -> list[Example]:
    """Writes so many videos of coloured shapes and says what can be asked of them."""
    from samwise.synthrvos.video import make_video
    from samwise.video.writer import VideoWriter

    made = []
    for index in range(count):
        video = make_video(_SEED, _SPLIT, _FIRST + index)
        path, picture = folder / f"example_{index + 1}.mp4", folder / f"example_{index + 1}.jpg"
        with VideoWriter(path, video.frames.shape[1:3], _FPS) as writer:
            for image in video.frames:
                writer.write(image)
        write_jpeg(picture, video.frames[len(video.frames) // 2])
        made.append(Example(path, picture, [x.text for x in video.statements][:_SENTENCES]))
    return made
