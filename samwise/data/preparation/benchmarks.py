"""What each benchmark consists of, its publishers' counts, and where to get it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from samwise.data.davis import ANNOTATORS, DavisStorage
from samwise.data.davis_text import FILES, FOLDER
from samwise.data.mevis import MeViSStorage
from samwise.data.ref_youtube_vos import RefYouTubeVosStorage, expressions_path
from samwise.data.refcoco import RefCocoStorage, refs_path
from samwise.data.refs_file import read_refs
from samwise.data.types import VideoStorage
from samwise.errors import UserError

# Expressions, objects and images as the publishers count them.
REFCOCO_COUNTS = {
    "refcoco/unc": (142_209, 50_000, 19_994),
    "refcoco+/unc": (141_564, 49_856, 19_992),
    "refcocog/umd": (95_010, 49_822, 25_799),
}


@dataclass(frozen=True)
class Finding:
    """One line of the inspection.

    Attributes:
        what: The part of the data.
        detail: What was found, or what is wrong.
        missing: Whether the part can't be used.
        differs: Whether the publishers' counts differ.
        prepare: Makes this part's index, if it is complete.
    """

    what: str
    detail: str
    missing: bool = False
    differs: bool = False
    prepare: Callable[[], None] | None = None


@dataclass(frozen=True)
class Benchmark:
    """A dataset.

    Attributes:
        folder: Its folder below the data folder.
        folders: Its own top-level folders.
        sources: What to fetch and where from.
        inspect: Looks at a root folder.
    """

    folder: str
    folders: frozenset[str]
    sources: dict[str, str]
    inspect: Callable[[Path], Iterator[Finding]]


def _mevis(root: Path) -> Iterator[Finding]:
    videos = 0
    for split in ("train", "valid_u", "valid", "test"):
        if split == "test" and not (root / split).is_dir():
            continue  # its videos are handed out for challenges
        with_masks = split in ("train", "valid_u")
        part = _Part(split, lambda split=split: MeViSStorage(root, split))
        if part.storage and with_masks and not part.storage.has_masks:
            part.fault = f"{root / split / 'mask_dict.json'} doesn't exist"
        yield part.finding(
            140 if split == "valid" else None, prepare=_index_masks(part.storage) if with_masks else None
        )
        videos += part.videos
    text = f"{videos:,} videos"
    if videos != 2006:
        text += " (published: 2,006 videos, of which the test split's aren't public)"
    yield Finding("all splits", text, differs=videos != 2006)


def _index_masks(storage: VideoStorage | None) -> Callable[[], None]:
    def prepare() -> None:
        assert storage is not None
        for expression in storage.expressions():  # makes the index and asks it about everything
            storage.visible(expression)

    return prepare


def _ytvos(root: Path) -> Iterator[Finding]:
    train = _Part("train", lambda: RefYouTubeVosStorage(root, "train"))
    if train.storage and not train.storage.has_masks:
        train.fault = f"{root / 'train' / 'Annotations'} doesn't exist, or the expressions name no objects"
    yield train.finding(prepare=_index_masks(train.storage))
    valid = _Part("valid", lambda: RefYouTubeVosStorage(root, "valid"))
    yield valid.finding(202)
    if (root / "test").is_dir():
        yield _Part("test", lambda: RefYouTubeVosStorage(root, "test")).finding()
    elif expressions_path(root, "test").is_file():
        yield Finding("test", "no frames; only its expression file is needed, for the validation split")


def _davis(root: Path) -> Iterator[Finding]:
    for annotator in range(ANNOTATORS):
        part = _Part(f"annotator {annotator}", lambda a=annotator: DavisStorage(root, "val", a))
        if isinstance(part.storage, DavisStorage) and annotator == 0:
            part.check(part.storage.check_masks)
        yield part.finding(30, detail=f" ({FOLDER}/{FILES[annotator]})")


def _refcoco(root: Path) -> Iterator[Finding]:
    for dataset, published in REFCOCO_COUNTS.items():
        part = _Part(dataset, lambda dataset=dataset: RefCocoStorage(root, [dataset], None))
        if part.fault:
            yield part.finding()
            continue
        refs = read_refs(refs_path(root, dataset))
        counts = (
            sum(len(ref.sentences) for ref in refs),
            len({ref.annotation_id for ref in refs}),
            len({ref.image_id for ref in refs}),
        )
        sentences = Counter({split: 0 for split in sorted({ref.split for ref in refs})})
        for ref in refs:
            sentences[ref.split] += len(ref.sentences)
        splits = ", ".join(f"{split} {count:,}" for split, count in sentences.items())
        names = ("expressions", "objects", "images")
        text = ", ".join(
            f"{count:,} {name}" + ("" if count == right else f" (published: {right:,})")
            for count, right, name in zip(counts, published, names, strict=True)
        )
        yield Finding(dataset, f"{text}; expressions by split: {splits}", differs=counts != published)
    if (root / "train2014").is_dir():
        try:
            joint = RefCocoStorage(root, list(REFCOCO_COUNTS), "train")
        except UserError:
            return  # said above
        notes = joint.notes or ["no images to drop"]
        yield Finding("joint training", f"{len(joint.expressions()):,} expressions; {'; '.join(notes)}")


class _Part:
    """A split, opened and checked; what is wrong with it is kept instead of raised."""

    def __init__(self, what: str, open_split: Callable[[], VideoStorage]) -> None:
        self.what, self.fault = what, ""
        self.storage: VideoStorage | None = None
        try:
            self.storage = open_split()
        except UserError as error:
            self.fault = str(error)
        if self.storage:
            self.check(self.storage.check_frames)
        expressions = self.storage.expressions() if self.storage else []
        self.expressions, self.videos = len(expressions), len({e.video_id for e in expressions})

    def check(self, look: Callable[[], None]) -> None:
        try:
            look()
        except UserError as error:
            self.fault = self.fault or str(error)

    def finding(
        self,
        published: int | None = None,
        detail: str = "",
        prepare: Callable[[], None] | None = None,
    ) -> Finding:
        if self.fault:
            return Finding(self.what, self.fault, missing=True)
        text = f"{self.videos:,} videos, {self.expressions:,} expressions{detail}"
        differs = published is not None and self.videos != published
        text += f"; published: {published:,} videos" if differs else ""
        return Finding(self.what, text, differs=differs, prepare=prepare)


BENCHMARKS = {
    "mevis": Benchmark(
        "mevis",
        frozenset({"train", "valid_u", "valid", "test"}),
        {"train, valid_u, valid (v1 and v2)": "https://github.com/henghuiding/MeViS"},
        _mevis,
    ),
    "ytvos": Benchmark(
        "ytvos",
        frozenset({"train", "valid", "test", "meta_expressions"}),
        {"train.zip, valid.zip, test.zip, meta_expressions": "https://youtube-vos.org/dataset/rvos/"},
        _ytvos,
    ),
    "davis": Benchmark(
        "davis",
        frozenset({"DAVIS", FOLDER}),
        {
            "DAVIS-2017-Unsupervised-trainval-480p.zip": "https://davischallenge.org/davis2017/code.html",
            "DAVIS-2017_semantics-480p.zip (not needed here)": (
                "https://davischallenge.org/davis2017/code.html"
            ),
            "davis_text_annotations.zip": (
                "https://www.mpi-inf.mpg.de/departments/computer-vision-and-machine-learning/research/"
                "video-segmentation/video-object-segmentation-with-language-referring-expressions"
            ),
        },
        _davis,
    ),
    "refcoco": Benchmark(
        "coco",
        frozenset({"train2014", "refcoco", "refcoco+", "refcocog"}),
        {
            "train2014.zip": "http://images.cocodataset.org/zips/train2014.zip",
            "refcoco.zip, refcoco+.zip, refcocog.zip": "https://github.com/lichengunc/refer",
        },
        _refcoco,
    ),
}
