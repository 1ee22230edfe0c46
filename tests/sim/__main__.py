"""Run the simulator: ``python -m tests.sim --seeds 500``."""

import argparse
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.sim.checks import check
from tests.sim.cluster import Cluster, Summary
from tests.sim.history import Violation


def run_seed(seed: int, *, trace: bool = False) -> tuple[Summary, str, list[str]]:
    """Run one seed.

    Returns:
        What it did, the hash of its trace, and the broken promises.
    """
    cluster = Cluster(seed, trace=partial(print, file=sys.stderr) if trace else None)
    try:
        summary = cluster.run()
        return summary, cluster.trace_hash, list(check(cluster))
    except Violation as violation:
        return Summary(), cluster.trace_hash, [str(violation)]
    except Exception as error:  # noqa: BLE001 - what crashes the core is a finding like others
        where = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        return Summary(), cluster.trace_hash, [problem]


def main() -> int:
    """Run seeds; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="tell on stderr what happens")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    args = parser.parse_args()
    if args.seed is not None:
        args.start, args.seeds, args.jobs = args.seed, 1, 1
    seeds = range(args.start, args.start + args.seeds)
    total = Summary()
    violations = 0
    run = partial(run_seed, trace=args.trace)
    with ProcessPoolExecutor(args.jobs) as pool:
        results = pool.map(run, seeds, chunksize=8) if args.jobs > 1 else map(run, seeds)
        for seed, (summary, digest, problems) in zip(seeds, results, strict=True):
            total += summary
            violations += bool(problems)
            for problem in problems[:5]:
                sys.stdout.write(f"seed {seed}: {problem}\n")
            if problems:
                sys.stdout.write(f"replay: python -m tests.sim --seed {seed} --trace\n")
            if args.seed is not None:
                sys.stdout.write(f"trace {digest}\n")
    sys.stdout.write(
        f"seeds {args.seeds}, writes {total.writes}, conflicts {total.conflicts},"
        f" faults {total.faults}, crashes {total.crashes}, tables changed {total.tables},"
        f" seeds with violations {violations}\n"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
