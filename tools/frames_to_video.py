"""Makes a video file of a folder of frames: ``python tools/frames_to_video.py FOLDER OUT.mp4 [RATE]``."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

from samwise.errors import UserError
from samwise.running.reporting import cli
from samwise.video.reader import open_source
from samwise.video.writer import VideoWriter


@cli
def main() -> None:
    if len(sys.argv) not in (3, 4):
        raise UserError("usage: python tools/frames_to_video.py FOLDER OUT.mp4 [FRAMES_PER_SECOND]")
    try:
        rate = Fraction(sys.argv[3] if len(sys.argv) == 4 else "10")
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise UserError(f"{sys.argv[3]} isn't a frame rate; give frames per second, such as 25 or 30000/1001")
    if Path(sys.argv[2]).suffix.lower() not in (".mp4", ".m4v", ".mov", ".mkv"):
        raise UserError(f"{sys.argv[2]}: name a video, such as out.mp4")
    source = open_source(sys.argv[1], rate)
    with VideoWriter(sys.argv[2], source.size, source.fps) as writer:
        for frame in source.frames():
            writer.write(frame.image, frame.time)
    print(f"{sys.argv[2]}: {source.frame_count} frames")


if __name__ == "__main__":
    main()
