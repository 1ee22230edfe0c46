"""``python -m antipodes_node``; what ``antipodes node`` runs."""

from pathlib import Path
from typing import Any

import click

from antipodes.cli import process
from antipodes_node.settings import NodeSettings


@click.command(name="antipodes node", context_settings={"help_option_names": ["-h", "--help"]})
@process.settings_options(NodeSettings)
def main(config: Path | None, **flags: Any) -> None:
    """Serve one region over gRPC until SIGTERM.

    Settings come from flags, then ANTIPODES_NODE_* variables, then the --config file.

    \b
    Example, two regions on one machine:
      antipodes node --region us-east-1 --listen 127.0.0.1:7401 --data-dir data/us-east-1 \\
          --peer eu-west-2=127.0.0.1:7402
      antipodes node --region eu-west-2 --listen 127.0.0.1:7402 --data-dir data/eu-west-2 \\
          --peer us-east-1=127.0.0.1:7401
    """  # noqa: D301 - click reads \b
    try:
        settings = NodeSettings.load(flags, config)
    except process.RefusedToStart as refusal:
        process.refuse(refusal)
    process.configure_logs(settings.log_format, settings.log_level, region=settings.region)
    from antipodes_node.app import run  # late, so that --help and refusals are quick

    process.run(lambda: run(settings))


if __name__ == "__main__":
    main()
