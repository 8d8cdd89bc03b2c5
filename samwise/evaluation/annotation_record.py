"""How sentences fared while their masks were mended round by round, and the file that keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samwise.config.typed import require
from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.evaluation.figures import ExpressionScore
from samwise.evaluation.metrics import Score
from samwise.io import read_json, write_json

MENDINGS = ("mask", "clicks")  # with the true mask, or with clicks
OURS, NO_ANCHORS, SAM2 = SYSTEMS = ("samwise", "no_anchors", "sam2")


@dataclass(frozen=True)
class Mended:
    """A round's frame.

    Attributes:
        frame: Its number.
        before: J of the mask that was there.
        after: J of the mask that is there now.
        clicks: How many were made; 0 for a mask that was given, or for "not here".
        applied: False where the old mask was better and stayed, or already right.
    """

    frame: int
    before: float
    after: float
    clicks: int = 0
    applied: bool = True


@dataclass(frozen=True)
class Course:
    """One sentence through all rounds.

    Attributes:
        expression: The (video, expression) pair.
        frames: Number of its frames.
        scores: For each of the ``SYSTEMS`` the means over the frames, at the start and after each round.
        mended: Each round's frame; fewer than rounds where all frames had their turn.
    """

    expression: Expression
    frames: int
    scores: dict[str, list[Score]]
    mended: list[Mended]

    def row(self, system: str, after: int) -> ExpressionScore:
        """A system's scores after so many rounds, as evaluation counts them."""
        return ExpressionScore(self.expression, self.frames, self.scores[system][after])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the video's name, as what JSON can hold."""
        said = self.expression
        return {
            "expression": said.expression_id,
            "text": said.text,
            "kind": said.kind,
            "frames": self.frames,
            "scores": {name: [[x.j, x.f] for x in scores] for name, scores in self.scores.items()},
            "mended": [asdict(mended) for mended in self.mended],
        }

    @classmethod
    def from_dict(cls, video_id: str, entry: Mapping[str, Any]) -> Course:
        """What ``to_dict`` wrote; KeyError, TypeError or ValueError where it didn't."""
        said = Expression(video_id, *(entry[key] for key in ("expression", "text", "kind")))
        scores = {name: [Score(float(j), float(f)) for j, f in entry["scores"][name]] for name in SYSTEMS}
        return cls(said, int(entry["frames"]), scores, [Mended(**mended) for mended in entry["mended"]])


class Finished:
    """The videos that are done, in a file that is written after each of them.

    Args:
        path: The file; it needn't be there yet.
        settings: What the figures depend on.

    Attributes:
        videos: For each video and each way of mending its sentences' courses.

    Raises:
        UserError: The file holds figures of other settings, or isn't such a file.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        self.videos: dict[str, dict[str, list[Course]]] = {}
        if not path.exists():
            return
        found = read_json(path)
        try:
            require(
                found["settings"] == settings,
                f"{path} has figures of other settings; choose another output, or take it away",
            )
            for video, ways in found["videos"].items():
                self.videos[video] = {
                    way: [Course.from_dict(video, entry) for entry in ways[way]]
                    for way in settings["mending"]
                }
                turns = {len(x) for y in self.videos[video].values() for z in y for x in z.scores.values()}
                require(
                    turns == {settings["rounds"] + 1}, f"{path} lacks rounds of {video}; take the file away"
                )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path} isn't what tools/annotate.py writes ({error!r}); take it away to begin anew"
            ) from error

    def add(self, video: str, ways: dict[str, list[Course]]) -> None:
        """Keeps a video's courses.

        Raises:
            UserError: The file can't be written.
        """
        self.videos[video] = ways
        write_json(self.path, self.to_dict())

    def courses(self, way: str) -> list[Course]:
        """All sentences of one way of mending."""
        return [course for ways in self.videos.values() for course in ways[way]]

    def to_dict(self) -> dict[str, Any]:
        """What the file holds."""
        videos = {
            video: {way: [course.to_dict() for course in courses] for way, courses in ways.items()}
            for video, ways in self.videos.items()
        }
        return {"settings": self.settings, "videos": videos}
