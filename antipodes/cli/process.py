"""What every long-lived process shares: settings, logs, the event loop, refusing to start."""

import asyncio
import logging
import os
import sys
import tomllib
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import pydantic
import structlog
from pydantic_core import PydanticUndefined

from antipodes.cli import exits

Settings = TypeVar("Settings", bound="ProcessSettings")


class RefusedToStart(Exception):
    """The process cannot run like this.

    Args:
        problem: What is wrong, naming the path, port or setting.
        remedy: What the operator can do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n  remedy: {remedy}")
        self.problem = problem
        self.remedy = remedy


class ProcessSettings(pydantic.BaseModel):
    """Settings of one process, from flags, then environment, then file, then defaults.

    Subclasses set ``env_prefix`` and describe each field; the description is its documentation.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    log_format: str = pydantic.Field(
        "auto", pattern="^(auto|json|text)$",
        description="json, text, or auto: text on a terminal, JSON elsewhere.",
    )  # fmt: skip
    log_level: str = pydantic.Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least severe level to log."
    )

    @classmethod
    def env_prefix(cls) -> str:
        """Prefix of the environment variables, for example ``ANTIPODES_NODE_``."""
        raise NotImplementedError

    @classmethod
    def load(
        cls: type[Settings],
        flags: Mapping[str, Any],
        config: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Settings:
        """Gather and validate the settings.

        Args:
            flags: Values from the command line; None and empty tuples count as not given.
            config: A TOML file whose keys are the field names.
            environ: The environment.

        Raises:
            RefusedToStart: Some are wrong; the problem lists all of them at once.
        """
        values: dict[str, Any] = {}
        if config is not None:
            try:
                values |= tomllib.loads(config.read_text())
            except (OSError, tomllib.TOMLDecodeError) as error:
                raise RefusedToStart(
                    f"cannot read settings file {config}: {error}",
                    "name a readable TOML file, its keys are the long flags with _ for -",
                ) from error
        prefix = cls.env_prefix()
        for name in cls.model_fields:
            if (text := environ.get(prefix + name.upper())) is not None:
                values[name] = text
        values |= {name: v for name, v in flags.items() if v is not None and v != ()}
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            lines = [
                f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}"
                + (f" (given: {problem['input']!r})" if problem["loc"] else "")
                for problem in error.errors()
            ]
            raise RefusedToStart(
                "settings are wrong:\n    " + "\n    ".join(lines),
                f"flags, {prefix}* variables and the --config file set them; --help lists them",
            ) from error


def parse_pairs(value: object) -> object:
    """Turn ``a=b`` texts (a flag given several times, or one comma-separated variable) into a dict.

    For use as a pydantic "before" validator; leaves other values for pydantic to judge.
    """
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        pairs: dict[str, str] = {}
        for part in value:
            name, equals, rest = str(part).partition("=")
            if not equals:
                raise ValueError(f"{part!r} is not of the form NAME=VALUE")
            if name.strip() in pairs:
                raise ValueError(f"{name.strip()} is given twice")
            pairs[name.strip()] = rest.strip()
        return pairs
    return value


def settings_options(
    cls: type[ProcessSettings],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a click command one flag per settings field, and ``--config``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name, field in reversed(cls.model_fields.items()):
            flag = "--" + name.replace("_", "-")
            about = (field.description or "").rstrip(".")
            if field.default not in (None, PydanticUndefined, "", ()):
                about += f" [default: {field.default}]"
            about += f"  [env: {cls.env_prefix()}{name.upper()}]"
            if field.annotation is bool:
                option = click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=about)
            else:
                many = getattr(field.annotation, "__origin__", None) in (dict, list, tuple)
                option = click.option(
                    flag, name, default=None, multiple=many, type=str, help=about,
                    metavar="NAME=VALUE" if many else None,
                )  # fmt: skip
            function = option(function)
        return click.option(
            "--config", type=click.Path(path_type=Path), default=None,
            help="TOML file with these settings; flags and environment win.",
        )(function)  # fmt: skip

    return decorate


def configure_logs(log_format: str, log_level: str, **context: str) -> None:
    """Send structlog's events to standard error.

    Args:
        log_format: As in the settings.
        log_level: As in the settings.
        context: Fields that every event of this process carries.
    """
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if as_text
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[log_level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**context)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
    """Run a process to its end on uvloop and exit with the right status."""
    try:
        import uvloop

        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        new_loop = None
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
    except RefusedToStart as refusal:
        refuse(refusal)
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
    sys.exit(exits.OK)


def refuse(refusal: RefusedToStart) -> NoReturn:
    """Say why the process does not start, and exit."""
    click.echo(f"refused to start: {refusal}", err=True)
    sys.exit(exits.NOT_STARTED)
