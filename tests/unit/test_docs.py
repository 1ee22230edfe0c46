"""What documents say about the code stays true."""

import re
from pathlib import Path

import click
import pytest

from antipodes.cli import main
from antipodes.cli.process import ProcessSettings
from antipodes_node.settings import NodeSettings
from antipodes_router.settings import RouterSettings

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "node/DESIGN.md"]


@pytest.mark.parametrize("settings", [NodeSettings, RouterSettings])
def test_every_setting_is_documented(settings: type[ProcessSettings]) -> None:
    page = (ROOT / "docs/settings.md").read_text()
    for name, field in settings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert f"| `{name}` |" in page
        assert field.description in page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE):
            assert target in targets, f"{page.name} names make {target}"


def test_every_command_has_help() -> None:
    context = click.Context(main)
    assert isinstance(main, click.Group)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert command.help, f"{name} has no help"
