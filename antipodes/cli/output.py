"""Printing results: tables for people, JSON for programs."""

import asyncio
import functools
import sys
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn, TypeVar

import click
import orjson
from rich.console import Console
from rich.table import Table

from antipodes.cli import exits
from antipodes.cli.process import RefusedToStart, refuse
from antipodes.core.errors import AntipodesError, Rejected, Unavailable

Result = TypeVar("Result")

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-o table|json`` to a command."""
    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), default="table",
        help="A table to read, or JSON (one document, or one line a row) to process.",
        show_default=True,
    )(function)  # fmt: skip


def endpoint_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--endpoint`` to a command."""
    return click.option(
        "--endpoint", default="127.0.0.1:7400", envvar="ANTIPODES_ENDPOINT", show_default=True,
        show_envvar=True, metavar="HOST:PORT", help="Where the router (or one node) answers.",
    )(function)  # fmt: skip


def region_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--region`` to a command."""
    return click.option(
        "--region", default=None, envvar="ANTIPODES_REGION", show_envvar=True,
        help="Region to talk to; without it the router's nearest.",
    )(function)  # fmt: skip


def plain(value: Any) -> Any:
    """Turn native values into what JSON can hold: sets become lists, bytes become base64."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(inner) for inner in value), key=str)
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


def print_json(value: Any) -> None:
    """Print one JSON document on a line."""
    click.echo(orjson.dumps(plain(value), default=str))


def print_rows(
    rows: Sequence[Mapping[str, Any]], output: str, columns: Sequence[str] | None = None
) -> None:
    """Print rows.

    Args:
        rows: Values by column.
        output: ``table`` or ``json``.
        columns: Which ones, in order; without it, those of all rows in order of appearance.
    """
    if output == "json":
        for row in rows:
            print_json(row)
        return
    names = columns or list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in names))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return orjson.dumps(plain(value), default=str).decode()


def fail(message: str, status: int = exits.FAILED) -> NoReturn:
    """Say what went wrong, and exit."""
    click.echo(f"error: {message}", err=True)
    sys.exit(status)


def reports_errors(function: Callable[..., Result]) -> Callable[..., Result]:
    """Turn the errors of a command into messages and exit statuses."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Result:
        try:
            return function(*args, **kwargs)
        except RefusedToStart as refusal:
            refuse(refusal)
        except Unavailable as error:
            fail(f"{error.code}: {error}", exits.UNREACHABLE)
        except Rejected as error:
            fail(f"{error.code}: {error}", exits.REJECTED)
        except AntipodesError as error:
            fail(f"{error.code}: {error}", exits.FAILED)
        except BrokenPipeError:  # the reader of our output has had enough
            sys.stderr.close()
            sys.exit(exits.OK)
        except KeyboardInterrupt:
            sys.exit(exits.INTERRUPTED)

    return wrapped


def runs(
    function: Callable[..., Coroutine[Any, Any, Result]],
) -> Callable[..., Result]:
    """Make a command of a coroutine function; its errors are reported."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Result:
        return asyncio.run(function(*args, **kwargs))

    return reports_errors(wrapped)
