"""Commands about items."""

import json
import sys
from collections.abc import Iterable
from decimal import Decimal
from itertools import islice
from typing import Any

import click

import antipodes
from antipodes.cli.output import (
    endpoint_option,
    output_option,
    print_json,
    print_rows,
    region_option,
    reports_errors,
)
from antipodes.core.errors import ValidationException


def _parse(text: str) -> dict[str, Any]:
    """Read an item or a key: a JSON object, numbers exact; ``-`` reads standard input."""
    if text == "-":
        text = sys.stdin.read()
    try:
        value = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise ValidationException(
            f'not JSON: {error}; an item is written like \'{{"artist": "X", "year": 1979}}\''
        ) from error
    if not isinstance(value, dict):
        raise ValidationException("an item or a key is a JSON object")
    return value


def _value(text: str) -> Any:
    """Read a key value: a JSON number or string; anything else is taken as a string."""
    try:
        value = json.loads(text, parse_float=Decimal)
    except ValueError:
        return text
    return value if isinstance(value, str | int | Decimal) else text


@click.group()
def item() -> None:
    """Read and write single items. Items are plain JSON: strings, numbers, lists, objects."""


@item.command()
@click.argument("table")
@click.argument("item_json", metavar="ITEM")
@region_option
@endpoint_option
@reports_errors
def put(table: str, item_json: str, region: str | None, endpoint: str) -> None:
    """Store ITEM, replacing what is under its key. `-` reads it from standard input.

    \b
    Example:
      antipodes item put songs '{"artist": "No One You Know", "title": "Call Me Today"}'
    """  # noqa: D301 - click reads \b
    with antipodes.connect(endpoint, region=region) as client:
        client.table(table).put(_parse(item_json))
        click.echo(f"stored in {client.served_by or 'this region'}")


@item.command()
@click.argument("table")
@click.argument("key")
@region_option
@endpoint_option
@output_option
@reports_errors
def get(table: str, key: str, region: str | None, endpoint: str, output: str) -> None:
    """Show the item under KEY, a JSON object with the key attributes. Status 4 if there is none."""
    with antipodes.connect(endpoint, region=region) as client:
        found = client.table(table).get(_parse(key))
    if found is None:
        raise ValidationException(f"table {table} has no item under {key}")
    if output == "json":
        print_json(found)
    else:
        print_rows([{"attribute": n, "value": v} for n, v in found.items()], output)


@item.command()
@click.argument("table")
@click.argument("key")
@region_option
@endpoint_option
@reports_errors
def delete(table: str, key: str, region: str | None, endpoint: str) -> None:
    """Remove the item under KEY."""
    with antipodes.connect(endpoint, region=region) as client:
        old = client.table(table).delete(_parse(key), return_old=True)
    click.echo("deleted" if old is not None else "there was no such item")


@click.command()
@click.argument("table")
@click.argument("partition")
@click.option("--begins-with", help="Only sort keys that begin so.")
@click.option("--from", "low", help="Only sort keys from this one on.")
@click.option("--to", "high", help="Only sort keys up to this one.")
@click.option("--reverse", is_flag=True, help="From the greatest sort key down.")
@click.option("--limit", type=click.IntRange(1), help="At most so many items.")
@region_option
@endpoint_option
@output_option
@reports_errors
def query(
    table: str,
    partition: str,
    begins_with: str | None,
    low: str | None,
    high: str | None,
    reverse: bool,
    limit: int | None,
    region: str | None,
    endpoint: str,
    output: str,
) -> None:
    """Show the items of one partition key, in order of the sort key."""
    given: dict[str, Any] = {}
    if low is not None and high is not None:
        given["sort_between"] = (_value(low), _value(high))
    elif low is not None:
        given["sort_ge"] = _value(low)
    elif high is not None:
        given["sort_le"] = _value(high)
    if begins_with is not None:
        given["sort_begins_with"] = begins_with
    with antipodes.connect(endpoint, region=region) as client:
        items = client.table(table).query(
            _value(partition), forward=not reverse, limit=limit, **given
        )
        _print_items(items, output)


@click.command()
@click.argument("table")
@click.option("--limit", type=click.IntRange(1), help="At most so many items.")
@region_option
@endpoint_option
@output_option
@reports_errors
def scan(table: str, limit: int | None, region: str | None, endpoint: str, output: str) -> None:
    """Show all items of a table, in no order."""
    with antipodes.connect(endpoint, region=region) as client:
        _print_items(islice(iter(client.table(table).scan()), limit), output)


def _print_items(items: Iterable[dict[str, Any]], output: str) -> None:
    if output == "json":  # a line as each comes: the table may be large
        for found in items:
            print_json(found)
        return
    rows = list(items)
    if rows:
        print_rows(rows, output)
    else:
        click.echo("no items")


item.add_command(query)
item.add_command(scan)
