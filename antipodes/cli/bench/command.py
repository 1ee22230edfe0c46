"""``antipodes bench``."""

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import click

from antipodes.cli import exits
from antipodes.cli.bench.lab import Lab, describe_machine
from antipodes.cli.bench.report import Report
from antipodes.cli.bench.sections import SECTIONS
from antipodes.cli.output import output_option, print_json, runs

CPUS_FOR_TWO_CLIENTS = 4
"""With fewer, a second process that makes load would take the node's own CPU."""
BUSY_PERCENT = 15.0
"""Share of the CPUs used by others before the start above which figures deserve doubt."""


async def measure(
    directory: Path, sections: tuple[str, ...] = (), *, quick: bool = False, clients: int = 0
) -> Report:
    """Measure.

    Args:
        directory: For all data; empty.
        sections: Names; none means all.
        quick: Short windows, few items, no repetitions.
        clients: Processes that make load; 0 leaves it to the number of CPUs.
    """
    begun = perf_counter()
    report = Report(describe_machine(directory))
    processes = clients or (2 if (os.cpu_count() or 1) >= CPUS_FOR_TWO_CLIENTS else 1)
    report.machine["client processes"] = processes
    async with Lab(directory, report, quick=quick, clients=processes) as lab:
        for name, section in SECTIONS.items():
            if not sections or name in sections:
                await section(lab)
    if float(report.machine["busy before"].split()[0]) > BUSY_PERCENT:
        report.notes.append(
            "The machine was busy before it began: rates and latencies are those of a busy machine;"
            " wait for a quiet one, or look at CPU seconds only."
        )
    report.machine["load after"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    report.machine["seconds"] = round(perf_counter() - begun)
    if quick:
        report.notes.append("quick: windows of 0.8 s without repetition; expect scatter")
    report.notes.append(
        "1 KiB items of ten fields; updates replace whole items. Everything ran on this machine:"
        " load, nodes and router share its CPUs, so requests per server-CPU-second say more than"
        " requests per second."
    )
    return report


@click.command()
@click.option("--quick", is_flag=True, help="Short windows, few items, no repetitions.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(SECTIONS)), metavar="NAME",
    help=f"Measure only this section; repeat for more: {', '.join(SECTIONS)}.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit with 1 when a target is missed.")
@click.option(
    "--clients", type=click.IntRange(0, 16), default=0,
    help="Processes that make load. [default: 2 with four CPUs or more, else 1]",
)  # fmt: skip
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False, exists=True), default=None,
    help="Put the data under this directory: its disk is what is measured."
    " [default: the system's place for temporary files]",
)  # fmt: skip
@output_option
@runs
async def bench(
    quick: bool, only: tuple[str, ...], strict: bool, clients: int, directory: Path | None,
    output: str,
) -> None:  # fmt: skip
    """Measure nodes on this machine, each figure beside the bare limit of the same run.

    Starts its own processes on free ports, with data in a directory that it removes. Compare
    ratios, not absolute figures, between machines.
    """
    with tempfile.TemporaryDirectory(
        prefix="antipodes-bench-", dir=directory, ignore_cleanup_errors=True
    ) as place:
        report = await measure(Path(place), only, quick=quick, clients=clients)
    if output == "json":
        print_json(report.to_dict())
    else:
        report.show()
    if strict and report.missed:
        sys.exit(exits.FAILED)
