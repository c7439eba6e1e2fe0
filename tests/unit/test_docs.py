"""The documentation is true, as far as a program can check it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from config.environment import known_variables
from jobs.lifecycle import ROWS
from jobs.outcomes import PollOutcome, Refused, SubmitOutcome
from jobs.states import State
from tools.docs import error_table_page, lifecycle_page, settings_page
from worker.cli.main import commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "clients").glob("*/README.md"),
        *(ROOT / "examples").rglob("*.md"),
        ROOT / "worker" / "sandbox" / "README.md",
    ]
)

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
INDENTED = re.compile(r"^(?: {4}|\t)(.+)$", re.MULTILINE)
FOREIGN = re.compile(
    r"\b(?:(?<!/)sessions?(?!:<|`? (?:ls|revoke)\b|\.html)|agents?|issues?|workplaces?)\b"
    r"|\b(?:pypi\S*|npmjs\S*|artifactory)\b"
    r"|(?<![\w.])/(?:work|home|root|tmp)/",
    re.IGNORECASE,
)
"""Words of the place of work and paths of a machine, which mean nothing to a reader."""

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def code(path: Path) -> Iterator[str]:
    """Every piece of code of a page: the lines of its code blocks, and the text in backticks."""
    text = path.read_text(encoding="utf-8")
    for block in FENCE.findall(text):
        yield from re.sub(r"\\\n", " ", block).splitlines()
    rest = FENCE.sub("", text)
    yield from INDENTED.findall(rest)
    yield from SPAN.findall(rest)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


# --- Pages made from the code --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("error-table.md", error_table_page.render()),
        ("lifecycle.md", lifecycle_page.render()),
        ("settings.md", settings_page.render()),
    ],
)
def test_a_generated_page_is_up_to_date(name: str, expected: str) -> None:
    found = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert found == expected, f"docs/{name} is stale: run `make docs`"


def test_every_kind_of_outcome_has_its_row() -> None:
    assert {*error_table_page.ON_SUBMIT, Refused} == set(SubmitOutcome.__args__)
    assert set(error_table_page.ON_POLL) == set(PollOutcome.__args__)


def test_the_lifecycle_page_explains_every_state_and_draws_every_arrow() -> None:
    page = lifecycle_page.render()
    assert all(f"\n| `{state}` | " in page.partition("## Transitions")[0] for state in State)
    arrows = {(row.state, row.next_state) for row in ROWS if row.state is not row.next_state}
    drawn = re.findall(r"^    (\w+) --> (\w+): ", page, re.MULTILINE)
    assert {(State(start), State(end)) for start, end in drawn} == arrows
    assert len(drawn) == len(arrows)


def test_the_index_sorts_every_page_into_one_group() -> None:
    docs = ROOT / "docs"
    text = (docs / "README.md").read_text(encoding="utf-8")
    groups = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert groups == ["Tutorial", "How-to", "Reference", "Explanation"]
    listed = re.findall(r"^\| \[[^]]+\]\(([\w/-]+\.md)\) \| \S.+ \|$", text, re.MULTILINE)
    pages = {one.name for one in docs.glob("*.md")} - {"README.md"} | {"adr/README.md"}
    assert sorted(listed) == sorted(pages)


# --- Links and names -----------------------------------------------------------------------------


@page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = set(known_variables())
    named = set(re.findall(r"KNOUDS_[A-Z0-9_]+", page.read_text(encoding="utf-8")))
    assert named <= known


@page
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for line in code(page):
        for target in re.findall(r"^\s*make ([a-z-]+)", line):
            assert target in known, f"{page.name}: {line}"


# --- Commands ------------------------------------------------------------------------------------


def check_command(words: list[str]) -> str | None:
    """What is wrong with the arguments of `knouds-worker`; None if nothing is."""
    command: click.Command = commands
    rest = list(words)
    while isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            return f"there is no {rest[0]}"
        command = found
        rest.pop(0)
    if command.context_settings.get("ignore_unknown_options"):
        return None
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    for word in rest:
        if word.startswith("--") and word not in {*known, "--help"}:
            return f"{command.name} has no option {word}"
    return None


@page
def test_every_command_that_is_shown_exists(page: Path) -> None:
    for line in code(page):
        for tail in re.findall(r"(?:^|\s)knouds-worker((?: +[^\s|;#…]+)*)", line):
            problem = check_command(tail.split())
            assert problem is None, f"{page.name}: knouds-worker{tail}: {problem}"


def test_the_check_of_commands_finds_what_is_wrong() -> None:
    assert check_command(["jobs", "get", "ID", "--json"]) is None
    assert check_command(["jobs", "lose", "ID"]) == "there is no lose"
    assert check_command(["stats", "--every"]) == "stats has no option --every"


def test_the_examples_in_python_are_python() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        ast.parse(example)


# --- Words ---------------------------------------------------------------------------------------


@page
def test_no_foreign_word_is_on_a_page(page: Path) -> None:
    found = [match[0] for match in FOREIGN.finditer(page.read_text(encoding="utf-8"))]
    assert found == []
