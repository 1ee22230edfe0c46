"""Commands about tables."""

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
from antipodes.client.types import TableDescription


@click.group()
def table() -> None:
    """Create, list, describe and delete tables."""


def _key(text: str) -> tuple[str, str]:
    name, colon, kind = text.rpartition(":")
    return (name, kind) if colon else (text, "S")


def _row(description: TableDescription) -> dict[str, Any]:
    key = [
        f"{name}:{description.key_types.get(name, '?')}"
        for name in (description.key.partition, description.key.sort)
        if name is not None
    ]
    return {
        "table": description.name,
        "status": description.status,
        "key": ", ".join(key),
        "items": description.item_count,
        "bytes": description.size_bytes,
        "stream": description.stream_view_type,
        "replicas": ", ".join(f"{r.region} {r.status}" for r in description.replicas),
    }


def _show(description: TableDescription, output: str) -> None:
    row = _row(description)
    if output == "json":
        print_json({**row, "id": description.id, "arn": description.arn,
                    "stream_arn": description.stream_arn})  # fmt: skip
    else:
        print_rows([row], output)


@table.command()
@click.argument("name")
@click.option(
    "--partition-key", required=True, metavar="NAME[:S|N|B]",
    help="Attribute that places the item; a string unless a type follows.",
)  # fmt: skip
@click.option("--sort-key", metavar="NAME[:S|N|B]", help="Attribute that orders the items.")
@click.option("--replicas", default="", metavar="A,B", help="Other regions that shall hold it.")
@click.option(
    "--stream",
    type=click.Choice(["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]),
    help="What stream records show; a table with replicas always streams NEW_AND_OLD_IMAGES.",
)
@region_option
@endpoint_option
@output_option
@reports_errors
def create(
    name: str,
    partition_key: str,
    sort_key: str | None,
    replicas: str,
    stream: str | None,
    region: str | None,
    endpoint: str,
    output: str,
) -> None:
    """Create a table in a region and, with --replicas, in others: in all or in none.

    \b
    Example:
      antipodes table create cities --partition-key country --sort-key city \\
          --region us-east-1 --replicas eu-west-2,ap-northeast-1
    """  # noqa: D301 - click reads \b
    with antipodes.connect(endpoint, region=region) as client:
        client.create_table(
            name,
            _key(partition_key),
            _key(sort_key) if sort_key else None,
            replicas=[r for r in replicas.split(",") if r],
            stream=stream,
        )
        _show(client.describe_table(name), output)


@table.command("list")
@region_option
@endpoint_option
@output_option
@reports_errors
def list_(region: str | None, endpoint: str, output: str) -> None:
    """List the tables of a region."""
    with antipodes.connect(endpoint, region=region) as client:
        rows = [_row(client.describe_table(name)) for name in client.list_tables()]
    if not rows and output == "table":
        click.echo("no tables; create one with: antipodes table create NAME --partition-key ATTR")
    else:
        print_rows(rows, output)


@table.command()
@click.argument("name")
@region_option
@endpoint_option
@output_option
@reports_errors
def describe(name: str, region: str | None, endpoint: str, output: str) -> None:
    """Describe a table as a region sees it."""
    with antipodes.connect(endpoint, region=region) as client:
        _show(client.describe_table(name), output)


@table.command("add-replica")
@click.argument("name")
@click.argument("new_region")
@region_option
@endpoint_option
@output_option
@reports_errors
def add_replica(name: str, new_region: str, region: str | None, endpoint: str, output: str) -> None:
    """Have NEW_REGION hold a table too, as long as nothing was written to it."""
    with antipodes.connect(endpoint, region=region) as client:
        client.add_replica(name, new_region)
        _show(client.describe_table(name), output)


@table.command()
@click.argument("name")
@click.option("--all-replicas", is_flag=True, help="In every region that holds it.")
@region_option
@endpoint_option
@reports_errors
def delete(name: str, all_replicas: bool, region: str | None, endpoint: str) -> None:
    """Delete a table with all its items."""
    with antipodes.connect(endpoint, region=region) as client:
        client.delete_table(name, all_replicas=all_replicas)
    click.echo(f"deleted {name}")
