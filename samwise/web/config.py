"""What the page can be told: the keys of ``configs/web_demo.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from samwise.config.typed import Checked, require
from samwise.inference.runtime import RuntimeConfig


@dataclass
class LimitsConfig:
    """What one user may ask for, so that others get their turn.

    Attributes:
        upload_mb: Largest file, in MiB.
        visitor_uploads_mb: Of one address's uploads together, in MiB.
        all_uploads_mb: Of all visitors' uploads together, in MiB.
        seconds: Longest video.
        frames: Most frames.
        side: Most pixels of the longer side.
        smallest_side: Fewest pixels of the shorter side.
        sentences: Most sentences for a video.
        characters: Most of a sentence.
        opening_seconds: Longest that a file's decoder may say nothing: until the first frame, or between two.
        jobs: Jobs that run at the same time; each shares the device with the others.
        waiting: Jobs that may wait for their turn.
        visitor_jobs: Jobs of one address, running and waiting.
        visitor_connections: Connections of one address; this machine's own aren't counted.
        editing_jobs: Finished videos that can be corrected at a time, of all visitors.
        editing_mb: Main memory for all of them together, in MiB; a longer video can't be corrected.
        editing_minutes: Minutes without a correction after which a video can't be corrected any more.
        states_mb: Of one of them for where its streams stood between clips, in MiB.
        corrections: Most corrections of one video.
    """

    upload_mb: int = 200
    visitor_uploads_mb: int = 1000
    all_uploads_mb: int = 4000
    seconds: float = 60.0
    frames: int = 1000
    side: int = 1920
    smallest_side: int = 16
    sentences: int = 8
    characters: int = 300
    opening_seconds: float = 20.0
    jobs: int = 1
    waiting: int = 8
    visitor_jobs: int = 4
    visitor_connections: int = 200
    editing_jobs: int = 8
    editing_mb: int = 4000
    editing_minutes: float = 15.0
    states_mb: int = 128
    corrections: int = 100


@dataclass
class WebConfig(Checked):
    """The keys of ``configs/web_demo.yaml``.

    Attributes:
        host: Address to listen on; 127.0.0.1 is this machine only, 0.0.0.0 everybody who can reach it.
        port: 0 for any free one.
        allowed_hosts: Names under which the page is reached, beside its address, this machine's name and
            localhost; requests for other names are refused.
        checkpoint: As in ``configs/demo.yaml``, or a list of such: visitors choose, the first is preselected.
        extensions: Modules that the checkpoint needs.
        device: cuda where there is one, else cpu.
        clip_length: Frames per clip; null for the network's own.
        opacity: Of the overlay's fill.
        examples: Synthetic videos to choose from.
        keep_minutes: Minutes after which uploads and results are removed.
        temporary: Folder for uploads and results while the server runs; null for the system's own.
        limits: What one user may ask for.
        runtime: How the network runs.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    allowed_hosts: list[str] = field(default_factory=list)
    checkpoint: Any = None
    extensions: list[str] = field(default_factory=list)
    device: str | None = None
    clip_length: int | None = None
    opacity: float = 0.45
    examples: int = 4
    keep_minutes: float = 30.0
    temporary: str | None = None
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    @property
    def checkpoints(self) -> list[str | None]:
        """What ``checkpoint`` names, one or several."""
        return [None if name in (None, "") else str(name) for name in self._named]

    @property
    def _named(self) -> list[Any]:
        return self.checkpoint if isinstance(self.checkpoint, list) else [self.checkpoint]

    def check(self) -> None:
        limits = self.limits
        require(
            self.checkpoints and not any(isinstance(x, (list, dict)) for x in self._named),
            "checkpoint must be one model, or a list such as 'checkpoint=[default,mevis]'",
        )
        require(
            limits.smallest_side <= limits.side,
            "limits.smallest_side is more than limits.side: no video would be accepted",
        )
        for key in ("visitor_uploads_mb", "all_uploads_mb"):
            require(
                getattr(limits, key) > limits.upload_mb,
                f"limits.{key}={getattr(limits, key)} must be more than limits.upload_mb={limits.upload_mb}: "
                "one file of that size has to fit",
            )
