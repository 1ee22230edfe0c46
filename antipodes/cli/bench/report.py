"""What was measured, and how it is shown."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS_MIN = 150
"""The widest table fits; a narrower terminal folds the cells."""

_TITLES = {
    "start": "Start and memory",
    "ceilings": "Unary calls beside a bare gRPC echo, and LMDB alone",
    "pipeline": "The SDK's pipeline beside unary calls",
    "ycsb": "YCSB, one region",
    "stream": "PutItem with a stream and without",
    "size": "GetItem with ten times the items",
    "replication": "Replication between three regions",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, beside its bare limit.

    Attributes:
        section: Of the benchmark.
        name: What was measured.
        value: How much.
        unit: Of value and limit.
        limit: What the same run did without us; None where there is nothing to compare with.
        limit_name: What that is.
        ratio: Value to limit.
        more: Further figures, by name with unit.
    """

    section: str
    name: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""
    more: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Value to limit."""
        return self.value / self.limit if self.limit else None

    def to_dict(self) -> dict[str, Any]:
        """Print for JSON."""
        return {
            "section": self.section, "name": self.name, "value": self.value, "unit": self.unit,
            "limit": self.limit, "limit_name": self.limit_name, "ratio": self.ratio, **self.more,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """Something that must be reached.

    Attributes:
        section: That measures it.
        name: What.
        measured: The figure that is judged.
        bound: What it is judged by.
        at_least: The bound is a floor; otherwise a ceiling.
        unit: Of both.
        reached_otherwise: Another form of the target holds; says which.
    """

    section: str
    name: str
    measured: float
    bound: float
    at_least: bool
    unit: str = ""
    reached_otherwise: str = ""

    @property
    def reached(self) -> bool:
        """The target holds."""
        within = self.measured >= self.bound if self.at_least else self.measured <= self.bound
        return within or bool(self.reached_otherwise)

    def to_dict(self) -> dict[str, Any]:
        """Print for JSON."""
        return {
            "section": self.section, "name": self.name, "measured": self.measured,
            "bound": self.bound, "at_least": self.at_least, "unit": self.unit,
            "reached": self.reached, "reached_otherwise": self.reached_otherwise,
        }  # fmt: skip


@dataclass
class Report:
    """All figures of one run.

    Attributes:
        machine: What it ran on.
        figures: In the order of measurement.
        targets: Likewise.
        notes: What a reader must know about this run.
    """

    machine: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def missed(self) -> list[Target]:
        """Targets that were not reached."""
        return [target for target in self.targets if not target.reached]

    def to_dict(self) -> dict[str, Any]:
        """Print for JSON."""
        return {
            "machine": self.machine,
            "figures": [figure.to_dict() for figure in self.figures],
            "targets": [target.to_dict() for target in self.targets],
            "notes": self.notes,
        }

    def show(self) -> None:
        """Print tables."""
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = max(console.width, _COLUMNS_MIN)
        console.print("  ".join(f"{name} {value}" for name, value in self.machine.items()))
        for section in dict.fromkeys(figure.section for figure in self.figures):
            self._show_section(console, section)
        table = _table("Targets", ("must reach", "measured", "bound", ""))
        for target in self.targets:
            sign = ">=" if target.at_least else "<="
            mark = "[green]reached[/]" if target.reached else "[bold red]MISSED[/]"
            if target.reached_otherwise:
                mark += f" ({target.reached_otherwise})"
            unit = f" {target.unit}" if target.unit else ""
            table.add_row(
                target.name, number(target.measured) + unit,
                f"{sign} {number(target.bound)}{unit}", mark,
            )  # fmt: skip
        if self.targets:
            console.print()
            console.print(table)
        for note in self.notes:
            console.print(f"[dim]{note}[/]")

    def _show_section(self, console: Console, section: str) -> None:
        figures = [figure for figure in self.figures if figure.section == section]
        more = list(dict.fromkeys(name for figure in figures for name in figure.more))
        compared = any(figure.limit is not None for figure in figures)
        columns = ["figure", "value", *(("bare limit", "ratio") if compared else ()), *more]
        table = _table(_TITLES.get(section, section), columns)
        for figure in figures:
            cells = [figure.name, f"{number(figure.value)} {figure.unit}"]
            if compared:
                limit, ratio = figure.limit, figure.ratio
                cells.append("" if limit is None else f"{number(limit)} {figure.limit_name}")
                cells.append("" if ratio is None else f"{number(ratio)}")
            cells += [number(figure.more[n]) if n in figure.more else "" for n in more]
            table.add_row(*cells)
        console.print()
        console.print(table)


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, header_style="bold",
        pad_edge=False,
    )  # fmt: skip
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    return table


def number(value: float) -> str:
    """Print a number with three digits that mean something."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def percentile(values: Sequence[float], share: float) -> float:
    """Give the least of the values that at least this share of them do not exceed.

    Args:
        values: In ascending order, at least one.
        share: Above 0, at most 1.
    """
    if not values or not 0 < share <= 1:
        raise ValueError("a percentile is of some values, and of a share above 0 up to 1")
    return values[math.ceil(share * len(values)) - 1]


def median(values: Iterable[float]) -> float:
    """Give the middle value; of two the lower."""
    return percentile(sorted(values), 0.5)


def mixed_rate(parts: Iterable[tuple[float, float]]) -> float:
    """Give the rate of a mixture whose parts are done one after the other.

    Args:
        parts: Share of the requests and rate of each part; shares need not add up to 1.
    """
    kept = [(share, rate) for share, rate in parts if share]
    return sum(share for share, _ in kept) / sum(share / rate for share, rate in kept)
