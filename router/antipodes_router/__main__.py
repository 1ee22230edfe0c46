"""``python -m antipodes_router``: what ``antipodes router`` runs."""

from pathlib import Path
from typing import Any

import click

from antipodes.cli.process import (
    RefusedToStart,
    configure_logs,
    refuse,
    run,
    settings_options,
)
from antipodes_router.app import serve
from antipodes_router.settings import RouterSettings


@click.command("router")
@settings_options(RouterSettings)
def main(config: Path | None, **flags: Any) -> None:
    """Send each call to the nearest region that can serve it.

    Example: antipodes router --region us-east-1=127.0.0.1:7401 --region eu-west-1=127.0.0.1:7402
    """
    try:
        settings = RouterSettings.load(flags, config)
    except RefusedToStart as refusal:
        refuse(refusal)
    configure_logs(settings.log_format, settings.log_level, process="router")
    run(lambda: serve(settings))


if __name__ == "__main__":
    main(prog_name="antipodes router")
