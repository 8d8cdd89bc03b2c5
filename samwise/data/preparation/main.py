"""``tools/prepare_data.py``: unpacks the publishers' archives, checks the data and makes their indices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from samwise.data.preparation.benchmarks import BENCHMARKS, Benchmark, Finding
from samwise.data.preparation.unpack import TAR_FOLDER, Plan, plan_unpacking, unpack, unpack_frames
from samwise.errors import UserError
from samwise.io import writable_folder
from samwise.running.cli import program


@program("prepare_data")
def main(config: DictConfig) -> None:
    """Prepares one benchmark or all; fails if something that is needed is missing."""
    if config.dataset not in (*BENCHMARKS, "all"):
        raise UserError(f"dataset={config.dataset}: choose {', '.join(BENCHMARKS)} or all")
    if config.dataset == "all":
        base = Path(config.root or "data").expanduser()
        roots = {name: base / benchmark.folder for name, benchmark in BENCHMARKS.items()}
    else:
        name = config.dataset
        roots = {name: Path(config.root or Path("data") / BENCHMARKS[name].folder).expanduser()}
    missing = {name: prepare(name, root, config.check) for name, root in roots.items()}
    if any(missing.values()):
        listed = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in missing.items() if parts)
        raise UserError(f"some of the data are missing or broken ({listed}); see above for where to get them")


def prepare(name: str, root: Path, check: bool = False) -> list[str]:
    """Prepares a benchmark and prints what is there.

    Args:
        name: A key of ``BENCHMARKS``.
        root: Its folder.
        check: Only look; nothing is written.

    Returns:
        What is missing.

    Raises:
        UserError: A zip is damaged or hostile, or there isn't enough space.
    """
    benchmark = BENCHMARKS[name]
    print(f"{name} in {root}")
    if not root.is_dir():
        _line("missing", "folder", f"{root} doesn't exist; make it and put the publisher's files there")
        _print_sources(benchmark)
        return ["folder"]
    plans = [plan_unpacking(path, root, benchmark.folders) for path in sorted(root.glob("*.zip"))]
    for plan in plans:
        if check:
            _line("zip", plan.path.name, _describe(plan))
        elif plan.todo:
            unpack(plan, writable_folder(root))
            _line("unpacked", plan.path.name, f"{len(plan.todo):,} files")
    for path in sorted(root.glob(f"*/{TAR_FOLDER}.tar")):
        if count := unpack_frames(path, check):
            state, what = ("tar", "files aren't unpacked yet") if check else ("unpacked", "files")
            _line(state, f"{path.parent.name}/{path.name}", f"{count:,} {what}")
    missing, said = [], set()
    for finding in benchmark.inspect(root):
        if finding.prepare and not finding.missing and not check:
            finding = _prepared(finding)
        state = "missing" if finding.missing else "differs" if finding.differs else "ok"
        _line(state, finding.what, finding.detail if finding.detail not in said else "as above")
        said.add(finding.detail)
        if finding.missing:
            missing.append(finding.what)
    if missing:
        _print_sources(benchmark)
    return missing


def _prepared(finding: Finding) -> Finding:
    assert finding.prepare
    try:
        finding.prepare()
    except UserError as error:
        return Finding(finding.what, str(error), missing=True)
    return replace(finding, detail=f"{finding.detail}; ready")


def _describe(plan: Plan) -> str:
    if not plan.entries:
        return "nothing in it belongs to this dataset"
    if not plan.todo:
        return "unpacked"
    size = sum(info.file_size for info, _ in plan.todo)
    return f"{len(plan.todo):,} of {len(plan.entries):,} files ({size / 1e9:.2f} GB) aren't unpacked yet"


def _print_sources(benchmark: Benchmark) -> None:
    for what, url in benchmark.sources.items():
        _line("get", what, url)


def _line(state: str, what: str, detail: str) -> None:
    print(f"  {state:8} {what}: {detail}", flush=True)
