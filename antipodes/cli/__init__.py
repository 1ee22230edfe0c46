"""The command line: the only place that prints and sets exit statuses."""

from importlib import import_module
from typing import Any

import click

_COMMANDS = {
    "up": "cluster",
    "down": "cluster",
    "status": "cluster",
    "link": "cluster",
    "conflicts": "cluster",
    "node": "cluster",
    "router": "cluster",
    "table": "tables",
    "item": "items",
    "query": "items",
    "scan": "items",
    "stream": "streams",
    "demo": "demo.command",
    "bench": "bench.command",
}
"""Commands, and the modules that hold them; loaded when used, so that each starts fast."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: Any = getattr(import_module(f"antipodes.cli.{module}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.command(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""Exit statuses: 0 done, 1 a check failed, 2 wrong command line, 3 nothing answers,
    4 the request was refused, 5 a process refused to start, 130 interrupted.""",
)
@click.version_option(package_name="antipodes")
def main() -> None:
    """DynamoDB Streams and Global Tables on your own machines.

    Start with `antipodes up`, which runs three regions and a router on this machine, or with
    `antipodes demo`, which shows what they do.
    """
