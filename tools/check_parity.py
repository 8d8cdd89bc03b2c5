"""Compares the network with golden figures or masks: ``python tools/check_parity.py FOLDER``.

Prints each case's largest errors. Exit status: 0 if all are within tolerance, 1 if not, 2 for a wrong folder.
"""

from __future__ import annotations

import sys
import time

from samwise.errors import UserError
from samwise.running.reporting import cli
from samwise.weights.parity import GoldenFolder, describe_left_out
from samwise.weights.pipeline_parity import PipelineFolder, is_pipeline


@cli
def main() -> None:
    if len(sys.argv) != 2:
        raise UserError(
            "usage: python tools/check_parity.py FOLDER (with meta.json, layout.json, inputs.npz or masks)"
        )
    folder = PipelineFolder(sys.argv[1]) if is_pipeline(sys.argv[1]) else GoldenFolder(sys.argv[1])
    failed = 0
    start = time.perf_counter()
    for name, checks, left_out in folder.checks():
        ok = all(check.passed for check in checks)
        failed += not ok
        print(f"{'pass' if ok else 'FAIL'}  {name}  [{time.perf_counter() - start:.0f} s]")
        print("".join(f"      {check}\n" for check in checks), end="")
        print(f"      left out: {describe_left_out(left_out)}", flush=True)
        start = time.perf_counter()
    print("all within tolerance" if not failed else f"{failed} case(s) out of tolerance")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
