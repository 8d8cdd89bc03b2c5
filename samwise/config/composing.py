"""Composing the files of ``configs/`` outside Hydra's own scripts, and where they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from samwise.config.network import SamwiseConfig
from samwise.errors import UserError


def _config_dir() -> Path:
    """The config tree: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


CONFIG_DIR = _config_dir()


def model_names() -> list[str]:
    """Names of the presets: the files of ``configs/model``."""
    return sorted(path.stem for path in (CONFIG_DIR / "model").glob("*.yaml"))


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra on our tree for a moment, whatever else has initialised it (a script, or the sam2 package)."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    instance = GlobalHydra.instance()
    before, instance.hydra = instance.hydra, None
    try:
        with initialize_config_dir(str(CONFIG_DIR.resolve()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def compose_config(script: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Composes a script's configuration outside of it.

    Args:
        script: A file of ``configs`` without suffix, e.g. ``train``.
        overrides: Hydra overrides, as on the script's command line.

    Raises:
        UserError: An override is wrong.
    """
    from hydra import compose
    from hydra.errors import HydraException

    try:
        with _hydra():
            return compose(script, list(overrides))
    except HydraException as error:
        said = [line.strip() for line in str(error).splitlines() if "HYDRA_FULL_ERROR" not in line]
        raise UserError(
            f"can't compose configs/{script}.yaml with {list(overrides)}: {' '.join(filter(None, said))}"
        ) from error


def compose_model(name: str, overrides: list[str] | None = None) -> SamwiseConfig:
    """Composes a preset outside a script.

    Args:
        name: A file of ``configs/model`` without suffix.
        overrides: Hydra overrides, e.g. ``["model.adapter.hsa=false", "text_encoder=clip_b16"]``.

    Raises:
        UserError: There is no such preset, or an override is wrong.
    """
    if name not in model_names():
        raise UserError(f"there is no model '{name}'; choose one of {', '.join(model_names())}")
    config = compose_config("base", [f"model={name}", *(overrides or [])])
    return SamwiseConfig.from_node(config.model)
