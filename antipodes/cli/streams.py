"""Commands about streams."""

import click

import antipodes
from antipodes.cli.output import (
    endpoint_option,
    output_option,
    plain,
    print_json,
    region_option,
    reports_errors,
)
from antipodes.client.types import StreamRecord


@click.group()
def stream() -> None:
    """Follow the changes of a table."""


@stream.command()
@click.argument("table")
@click.option(
    "--from", "start", default="now", show_default=True, metavar="now|beginning|NUMBER",
    help="Where to begin; a number is the sequence number after which to go on.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="End after so many records.")
@region_option
@endpoint_option
@output_option
@reports_errors
def tail(
    table: str, start: str, limit: int | None, region: str | None, endpoint: str, output: str
) -> None:
    """Print the changes of TABLE as they happen in a region, replicated ones included.

    Goes on through broken connections without loss or repeat. Ctrl-C ends it.
    """
    with antipodes.connect(endpoint, region=region) as client:
        for count, record in enumerate(client.table(table).stream(start=start), 1):
            _print(record, output)
            if count == limit:
                return


def _print(record: StreamRecord, output: str) -> None:
    if output == "json":
        print_json(
            {
                "eventID": record.event_id,
                "eventName": record.event_name,
                "keys": record.keys,
                "newImage": record.new_image,
                "oldImage": record.old_image,
                "sequenceNumber": record.sequence_number,
                "shardId": record.shard_id,
                "created": record.created.isoformat(),
                "originRegion": record.origin_region,
            }
        )
        return
    image = record.new_image if record.new_image is not None else record.old_image
    click.echo(
        f"{record.created:%H:%M:%S}  {record.event_name:6}  from {record.origin_region}  "
        f"{plain(record.keys if image is None else image)}"
    )
