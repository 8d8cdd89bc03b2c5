"""``SamwisePredictor``: masks from sentences for other people's programs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from samwise.config.typed import require_one_of
from samwise.data.types import Expression
from samwise.errors import UserError
from samwise.inference.both_passes import PASSES, BothPasses
from samwise.inference.correctable import CorrectableSession
from samwise.inference.presence import PresenceConfig, require_at_once, with_hindsight
from samwise.inference.recorded import RecordedSession
from samwise.inference.results import FrameResult
from samwise.inference.runtime import Runtime, RuntimeConfig
from samwise.inference.segmentation import Segmentation
from samwise.inference.sentences import fitting, warn_of_unknown
from samwise.inference.session import Session
from samwise.inference.track import Track
from samwise.modeling.memories.corrections import require_correctable
from samwise.modeling.samwise import Samwise
from samwise.running.device import choose_device
from samwise.video.reader import open_source
from samwise.video.source import Frame, FrameSource
from samwise.weights import hub
from samwise.weights.zoo import warning_of

if TYPE_CHECKING:
    from sam2.sam2_image_predictor import SAM2ImagePredictor
    from sam2.sam2_video_predictor import SAM2VideoPredictor


class SamwisePredictor:
    """Segments what sentences name, in videos and endless streams.

    Args:
        model: The network; it is put on the device, in eval mode.
        device: By default the GPU where there is one.
        runtime: Number format, compilation, memory layout.
        geometry: ``video``, or ``image`` for RefCOCO's evaluation: samwise/data/geometry.py.
        passes: ``forward``, or ``both`` for recorded videos: samwise/inference/both_passes.py. Sessions are
            forward.
        presence: Hysteresis, calibrated probabilities, and sentences that aren't about the video:
            samwise/inference/presence.py. Sessions answer at once, and so refuse to judge and to confirm.
    """

    def __init__(
        self,
        model: Samwise,
        device: str | torch.device | None = None,
        runtime: RuntimeConfig | None = None,
        geometry: str = "video",
        passes: str = "forward",
        presence: PresenceConfig | None = None,
    ) -> None:
        require_one_of("passes", passes, PASSES)
        self.passes, self.presence = passes, presence
        self.model = model.to(choose_device(device)).eval()
        self.runtime, self.geometry = Runtime(self.model, runtime), geometry

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        device: str | torch.device | None = None,
        runtime: RuntimeConfig | None = None,
        geometry: str = "video",
        passes: str = "forward",
        presence: PresenceConfig | None = None,
        **options: Any,
    ) -> SamwisePredictor:
        """Loads a checkpoint.

        Args:
            path: A ``.safetensors`` file, a training run's folder, a folder of ``save_pretrained``, a
                repository on the hub, or a name of the zoo (``mevis``, ``ytvos``, ``refcoco``: the authors'
                weights, fetched the first time). None for the small default, with a warning.
            device: By default the GPU where there is one.
            runtime: Number format, compilation, memory layout, e.g. ``RuntimeConfig("bfloat16")``.
            geometry: As of the class.
            passes: As of the class.
            presence: As of the class.
            **options: As of ``samwise.Samwise.from_pretrained``: ``overrides``, ``revision``, ...

        Raises:
            UserError: There is no checkpoint, or it doesn't fit the frozen weights at hand.
        """
        predictor = cls(
            hub.Samwise.from_pretrained(path, **options), device, runtime, geometry, passes, presence
        )
        if path is None and predictor.warning:
            warnings.warn(
                predictor.warning.replace("checkpoint=mevis", 'from_pretrained("mevis")'), stacklevel=2
            )
        return predictor

    @property
    def warning(self) -> str | None:
        """What must be said of the network's weights: that they know drawn shapes only. None where not."""
        return warning_of(self.model.config)

    def start_session(
        self,
        texts: Sequence[str],
        clip_length: int = 1,
        max_together: int | None = None,
        corrections: bool = False,
    ) -> Session:
        """Starts a stream.

        Args:
            texts: N sentences.
            clip_length: Frames that run together. 1, other than in ``segment_video``, because in a stream
                each frame's masks are wanted before the next frame arrives; 8 for the paper's clips.
            max_together: Most sentences that run as one batch; None for what suits the device.
            corrections: Whether frames can be corrected; the session then keeps its last clip's pictures.

        Raises:
            UserError: A sentence is wrong, or the predictor's presence wants to see more before it answers.
        """
        require_at_once(self.presence)
        kind = CorrectableSession if corrections else Session
        session = kind(
            self.model, texts, clip_length, max_together, self.runtime, self.geometry, self.presence
        )
        warn_of_unknown(self.model, session.texts)
        return session

    def sam2_image_predictor(self) -> SAM2ImagePredictor:
        """sam2's own ``SAM2ImagePredictor`` for clicks and boxes, sharing this model's weights.

        The adapters play no part in it: it gives what SAM 2 alone gives.
        """
        return self.model.backbone.image_predictor()

    def sam2_video_predictor(self) -> SAM2VideoPredictor:
        """As ``sam2_image_predictor``, for clicks and boxes in videos."""
        return self.model.backbone.video_predictor()

    def segment_video(
        self, source: Any, texts: Sequence[str], clip_length: int | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Segments a video.

        Args:
            source: Anything ``samwise.video.reader.open_source`` opens: a video file, an image, a folder
                of frames, a (T, H, W, 3) array, an iterable of frames.
            texts: N sentences.
            clip_length: Frames per clip; the network's own by default.

        Yields:
            Frame number and (N, H, W) bool masks.

        Raises:
            UserError: The source or a sentence is wrong.
        """
        for _, result in self.results(source, texts, clip_length):
            yield result.index, result.masks

    def segment(self, source: Any, texts: Sequence[str], clip_length: int | None = None) -> Segmentation:
        """Segments a video at once, into an object with masks, scores, pictures and files.

        Args:
            source: As of ``segment_video``.
            texts: N sentences.
            clip_length: Frames per clip; the network's own by default.

        Raises:
            UserError: The source or a sentence is wrong.
        """
        source = open_source(source)
        return Segmentation(source, texts, self.results(source, texts, clip_length))

    def track(
        self, source: Any, texts: Sequence[str], clip_length: int | None = None, states_mb: float = 512
    ) -> Track:
        """Segments a recorded video into an object that clicks can mend: the video follows.

        Args:
            source: As of ``segment_video``, but nothing that can be read only once.
            texts: N sentences.
            clip_length: Frames per clip; the network's own by default.
            states_mb: Most megabytes of main memory for where the streams stood between clips.

        Raises:
            UserError: The source or a sentence is wrong, or can't be corrected.
        """
        if self.passes != "forward":
            raise UserError(f"passes={self.passes} can't be corrected: use passes=forward")
        if self.presence is not None:
            raise UserError("presence= can't be corrected: leave it out")
        require_correctable(self.model.config.memory)
        length = self.model.clip_length if clip_length is None else clip_length
        session = RecordedSession(self.model, texts, length, None, self.runtime, self.geometry)
        track = Track(session, open_source(source), self.sam2_image_predictor, states_mb)
        warn_of_unknown(self.model, track.texts)
        return track

    def segment_videos(
        self, sources: Iterable[Any], texts: Sequence[str] | Sequence[Sequence[str]]
    ) -> Iterator[Segmentation]:
        """Segments one video after the other, as ``segment`` does.

        Args:
            sources: The videos.
            texts: Sentences for all of them, or a list of sentences for each.

        Yields:
            A result for each video.

        Raises:
            UserError: A source or a sentence is wrong.
            ValueError: There is another number of lists of sentences than of videos.
        """
        together = all(isinstance(text, str) for text in texts)
        for source, own in zip(sources, repeat(texts) if together else texts, strict=not together):
            yield self.segment(source, cast("Sequence[str]", own))

    def results(
        self,
        source: Any,
        texts: Sequence[str],
        clip_length: int | None = None,
        max_together: int | None = None,
    ) -> Iterator[tuple[Frame, FrameResult]]:
        """As ``segment_video``, with each frame's picture, time and everything known about it."""
        session = self._session(texts, clip_length, max_together)
        warn_of_unknown(self.model, session.texts)
        return self._run(source, session)

    def _session(self, texts: Sequence[str], clip_length: int | None, max_together: int | None) -> Session:
        """For a whole video, in clips of the network's length if no other is given."""
        kind = BothPasses if self.passes == "both" else Session
        length = self.model.clip_length if clip_length is None else clip_length
        return kind(self.model, texts, length, max_together, self.runtime, self.geometry, self.presence)

    def _run(self, source: Any, session: Session) -> Iterator[tuple[Frame, FrameResult]]:
        source = open_source(source)
        results = self._forward(source, session)
        if isinstance(session, BothPasses):
            results = session.run(source)
        return results if self.presence is None else with_hindsight(results, source, self.presence)

    @staticmethod
    def _forward(source: FrameSource, session: Session) -> Iterator[tuple[Frame, FrameResult]]:
        waiting: list[Frame] = []
        for frame in source.frames(session.fit):
            waiting.append(frame)
            if done := session.push(frame.image, frame.fitted):
                yield from zip(waiting, done, strict=True)
                waiting = []
        yield from zip(waiting, session.flush(), strict=True)

    def expression_results(
        self,
        source: Any,
        expressions: Sequence[Expression],
        clip_length: int | None = None,
        max_together: int | None = None,
    ) -> Iterator[tuple[Frame, FrameResult]]:
        """As ``results``, for expressions of a dataset: what is too long is cut, with a warning."""
        texts = [fitting(self.model, expression) for expression in expressions]
        return self._run(source, self._session(texts, clip_length, max_together))

    def coco_results(
        self,
        source: Any,
        texts: Sequence[str],
        clip_length: int | None = None,
        video_id: str | int = 0,
        expression_ids: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Segments a video into COCO run-length masks, in the form of YouTube-VIS results; JSON can hold it.

        Args:
            source: As of ``segment_video``.
            texts: N sentences.
            clip_length: Frames per clip; the network's own by default.
            video_id: What to call the video.
            expression_ids: N names of the sentences; "0", "1", ... by default.

        Returns:
            N dictionaries::

                {"video_id": video_id, "expression_id": "0", "text": "the horse jumping",
                 "height": H, "width": W, "length": T,
                 "score": float,                # mean over the frames of the next
                 "scores": [float, ...],        # of each frame, the probability that the object is there
                 "segmentations": [{"size": [H, W], "counts": "..."}, None, ...]}  # None where it is absent
        """
        if expression_ids is not None and len(expression_ids) != len(texts):
            raise ValueError(f"{len(expression_ids)} expression_ids for {len(texts)} sentences")
        return self.segment(source, texts, clip_length).to_coco(video_id, expression_ids)
