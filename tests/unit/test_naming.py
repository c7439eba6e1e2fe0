"""Names are the field's: one concept one name, and none of the private words of early versions."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.unit.source_modules import MODULES, ROOT, nodes

PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

PRIVATE_WORDS: Final = frozenset(
    [
        "bell",
        "bells",
        "bury",
        "buried",
        "census",
        "crew",
        "desk",
        "dice",
        "door",
        "doors",
        "doubt",
        "doubtful",
        "doubts",
        "errand",
        "errands",
        "fate",
        "fates",
        "fleet",
        "hop",
        "hops",
        "intake",
        "look",
        "looked",
        "looking",
        "looks",
        "lot",
        "lots",
        "mend",
        "mended",
        "mending",
        "moves",
        "news",
        "office",
        "patience",
        "pace",
        "perch",
        "pulse",
        "reception",
        "recollection",
        "reliance",
        "road",
        "roads",
        "standing",
        "tally",
        "tallies",
        "told",
        "timekeeper",
        "typed",
        "verdict",
        "verdicts",
        "visit",
        "visits",
        "whole",
        "wish",
        "wishes",
    ],
)
"""Words that stood for a concept here and for nothing in the field (docs/glossary.md has the
concepts). In sentences they are ordinary words; as names they would be a second language."""

LOG_METHODS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})


def words_of(name: str) -> list[str]:
    """The words of a name in snake case, camel case or capitals, in lower case."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word for word in re.split(r"[^A-Za-z]+", spaced.lower()) if word]


def private(name: str) -> bool:
    return not PRIVATE_WORDS.isdisjoint(words_of(name))


def test_the_words_of_a_name_are_told_apart() -> None:
    assert words_of("PollLater") == ["poll", "later"]
    assert words_of("MAX_JOBS_2") == ["max", "jobs"]
    assert private("LookAgain")
    assert private("hop.superseded")
    assert not private("lookup")


def test_public_class_names_are_unique() -> None:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_modules_have_no_private_names() -> None:
    names = {str(path.relative_to(ROOT).with_suffix("")) for path in MODULES}
    assert sorted(name for name in names if private(name)) == []


def definitions(path: Path) -> Iterator[str]:
    """Names of the classes and functions of a module, but for tests, whose names are sentences."""
    for node in nodes(path):
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if not name.startswith("test_"):
                    yield name
            case _:
                continue


def test_classes_and_functions_have_no_private_names() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in MODULES
        for name in definitions(path)
        if private(name)
    }
    assert sorted(found) == []


def log_events(path: Path) -> Iterator[str]:
    """The first argument of every call like `log.warning("noun.past_participle", …)`."""
    for node in nodes(path):
        match node:
            case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(str(event)), *_]):
                if method in LOG_METHODS and re.fullmatch(r"[a-z_]+\.[a-z_]+", event):
                    yield event
            case _:
                continue


def test_log_events_have_no_private_names() -> None:
    events = {event for path in MODULES for event in log_events(path)}
    assert "hold.placed" in events
    assert sorted(event for event in events if private(event)) == []


def test_headings_have_no_private_words() -> None:
    found = {
        f"{page.relative_to(ROOT)}: {heading}"
        for page in PAGES
        for heading in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        if private(heading)
    }
    assert sorted(found) == []
