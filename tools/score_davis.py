"""DAVIS 2017 "unsupervised" scores: python tools/score_davis.py gt=DIR predictions=DIR out=scores.json"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program
from samwise.running.reporting import require_keys


@program("score_davis")
def main(cfg: DictConfig) -> None:
    """Scores, prints a table of the objects, and writes all figures."""
    from samwise.evaluation import davis_folders
    from samwise.io import write_json
    from samwise.tables import percent, to_text

    require_keys(cfg, "python tools/score_davis.py gt=DIR predictions=DIR [out=scores.json]")
    truth = davis_folders.list_truth(cfg.gt, _names(cfg.videos))
    scores = davis_folders.score_folder(truth, cfg.predictions, cfg.workers, cfg.missing)
    figures = davis_folders.official_figures(scores)
    header = ["", "object", "proposal", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"]
    rows = [
        [score.name, str(score.object_id), str(score.proposal_id), *percent(*score.j, *score.f)]
        for score in scores
    ]
    means = [figures["global"][name] for name in header[3:]]
    print(to_text(header, [*rows, ["mean", "", "", *percent(*means)]]))
    print(f"J&F {100 * figures['global']['J&F-Mean']:.1f} (percent, as the table)")
    for video, ids in davis_folders.uncounted_objects(truth).items():
        print(f"{video}: objects {ids} aren't in the first frame, and DAVIS doesn't count them")
    if cfg.out is not None:
        write_json(cfg.out, figures)
        print(f"wrote {cfg.out}")


def _names(videos: str | list[str] | None) -> list[str] | None:
    if not isinstance(videos, str):
        return None if videos is None else list(videos)
    try:
        return Path(videos).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"can't read the list of videos {videos} ({error}); give a file or a list") from error


if __name__ == "__main__":
    main()
