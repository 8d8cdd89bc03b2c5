"""Checks a submission zip: python tools/check_submission.py zip=... expressions=... [frames_root=...]"""

import hydra
from omegaconf import DictConfig, OmegaConf

from samwise.config import CONFIG_DIR
from samwise.errors import UserError, cli
from samwise.evaluation.submission import check_submission


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="check_submission")
@cli
def main(cfg: DictConfig) -> None:
    if missing := OmegaConf.missing_keys(cfg):
        raise UserError(
            f"{' and '.join(sorted(missing))} must be given: python tools/check_submission.py "
            "zip=submission.zip expressions=meta_expressions.json [frames_root=JPEGImages]"
        )
    print(f"ok: {check_submission(cfg.zip, cfg.expressions, cfg.frames_root, cfg.layout)}")


if __name__ == "__main__":
    main()
