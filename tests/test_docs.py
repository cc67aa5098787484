"""The documentation is complete: nothing a user can reach is missing from it."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import Running
from service.__main__ import parser as service_parser
from service.archive.script import OPERATORS
from service.settings import ENVIRONMENT_PREFIX, Settings
from training.__main__ import parser as training_parser

DOCS = Path(__file__).parent.parent / "docs"
METHODS = {"get", "post", "put", "patch", "delete"}


def flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every command of a parser and every flag of each, but --help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield name
                yield from flags(command)
        yield from (option for option in action.option_strings if option not in {"-h", "--help"})


def test_every_route_is_in_a_page(service: Running) -> None:
    """Method and path, as the OpenAPI document has them, or as the path under the three prefixes."""
    api, v2 = (DOCS / "api.md").read_text(), (DOCS / "v2.md").read_text()
    for path, operations in service.client.get("/openapi.json").json()["paths"].items():
        page = v2 if path.startswith("/v2") else api
        short = re.sub(r"^/models/\{model\}(/versions/\{version\})?(?=/(?!versions))", "", path)
        short = re.sub(r"(?<=^/v2/models/\{model\})(/versions/\{version\})?", "[/versions/{version}]", short, count=1)
        for method in METHODS & set(operations):
            assert f"`{method.upper()} {short}`" in page, f"{method} {path} is in no page of docs/"


def test_every_setting_is_in_the_settings_page() -> None:
    """Flag, environment variable and default, in one row."""
    page = (DOCS / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        flag, variable = "--" + name.replace("_", "-"), ENVIRONMENT_PREFIX + name.upper()
        rows = [line for line in page.splitlines() if line.startswith(f"| `{flag}`")]
        assert len(rows) == 1, f"{flag} is not in docs/settings.md"
        assert f"`{variable}`" in rows[0]
        default = "" if field.default is None else str(field.default)
        assert re.search(rf"\| {re.escape(default)} +\|" if default else r"\|  *\|", rows[0]), rows[0]


@pytest.mark.parametrize(
    ("pages", "parser"),
    [(["settings.md"], service_parser()), (["training.md", "experiments.md"], training_parser())],
)
def test_every_command_and_flag_is_documented(pages: list[str], parser: argparse.ArgumentParser) -> None:
    """The command line has no secrets."""
    text = "".join((DOCS / page).read_text() for page in pages)
    for flag in flags(parser):
        assert f"`{flag}" in text or f" {flag}" in text, f"{flag} is not in docs/{' or docs/'.join(pages)}"


def test_every_operator_that_a_network_may_have_is_documented() -> None:
    """The allow-list is in docs/artifact.md, by names; those in place are said to be there."""
    page = (DOCS / "artifact.md").read_text()
    for operator in OPERATORS:
        assert f"`{operator.split('.')[-1].removesuffix('_')}`" in page, operator
