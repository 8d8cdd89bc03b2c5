"""Checks a submission zip: python tools/check_submission.py submission.zip meta_expressions.json [JPEGImages]

Config keys may follow: ``minus=meta_expressions/test/meta_expressions.json`` for Ref-YouTube-VOS.
"""

import re
import sys

from omegaconf import DictConfig

from samwise.errors import UserError
from samwise.running.cli import program
from samwise.running.reporting import cli, require_keys

USAGE = "python tools/check_submission.py submission.zip meta_expressions.json [JPEGImages] [minus=test.json]"
POSITIONS = ("zip", "expressions", "frames_root")


@program("check_submission")
def main(cfg: DictConfig) -> None:
    """Checks the zip and reports its contents."""
    from samwise.evaluation.submission import check_submission
    from samwise.evaluation.submission_plan import SubmissionPlan

    require_keys(cfg, USAGE)
    plan = SubmissionPlan.from_files(cfg.expressions, cfg.frames_root, cfg.layout, cfg.minus)
    print(f"ok: {check_submission(cfg.zip, plan)}")


@cli
def with_keys(arguments: list[str]) -> list[str]:
    """Turns files given by position into Hydra's overrides.

    Raises:
        UserError: There are more files than positions.
    """
    overrides = [x for x in arguments if x.startswith("-") or re.match(r"[+~]*[a-z_.]+=", x)]
    files = [x for x in arguments if x not in overrides]
    if len(files) > len(POSITIONS):
        raise UserError(f"{files[3]} is one file too many: {USAGE}")
    quoted = [file.replace("\\", "\\\\").replace("'", "\\'") for file in files]
    return [f"{key}='{file}'" for key, file in zip(POSITIONS, quoted, strict=False)] + overrides


if __name__ == "__main__":
    sys.argv[1:] = with_keys(sys.argv[1:])
    main()
