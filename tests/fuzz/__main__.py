"""Fuzz for as long as one likes: ``python -m tests.fuzz --seconds 3600``."""

from __future__ import annotations

import argparse
import time
import traceback

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.cases import Case, cases
from tests.fuzz.promises import hold

_BATCH = 50


def main() -> int:
    """Draw cases batch by batch until the time is up; print what broke and how to see it again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first batch of cases")
    args = parser.parse_args()
    start, number, failed, counted = time.perf_counter(), args.seed, [], [0]
    while time.perf_counter() - start < args.seconds:

        @seed(number)
        @settings(
            max_examples=_BATCH,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases())
        def batch(case: Case) -> None:
            counted[0] += 1
            hold(case)

        try:
            batch()
        except Exception:
            failed.append(number)
            print(f"\nseed {number}:\n{traceback.format_exc()}", flush=True)
        number += 1
    print(f"{counted[0]} cases in {number - args.seed} batches; broken: seeds {failed or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
