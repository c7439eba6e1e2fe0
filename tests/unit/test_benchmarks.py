"""Every program that a benchmark starts exists: a rename does not break one unnoticed."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.__main__ import BENCHES
from bench.peers.peer_list import PEERS, PROGRAMS, Peer, command

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
SOURCES = sorted(BENCH.rglob("*.py"))
PEER_PROGRAMS = BENCH / "peers" / "programs"
"""They import what only their own environments have."""

IMPORTABLE = [path for path in SOURCES if path.parent != PEER_PROGRAMS]
TEXTS = [
    *SOURCES,
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    ROOT / "Makefile",
]

PROGRAM = re.compile(r"(?:bench|worker)(?:\.\w+)+(?::\w+)?")
STARTED = re.compile(r"-m (bench(?:\.\w+)*)")


def module_file(name: str) -> Path | None:
    """The file of a module; of a package, the one that `python -m` runs, if it has one."""
    path = ROOT.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__main__.py", path / "__init__.py")
    return next((file for file in files if file.exists()), None)


def names_in(file: Path) -> set[str]:
    """What a module defines."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(targets=targets):
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case _:
                pass
    return found


def exists(program: str) -> bool:
    """Whether `program` is a module, or a name in one: `package.module.name` or `module:name`."""
    if module_file(program) is not None:
        return True
    module, _, name = program.replace(":", ".").rpartition(".")
    file = module_file(module)
    return file is not None and name in names_in(file)


def is_program(file: Path | None) -> bool:
    """Whether `python -m` runs anything there."""
    return file is not None and (
        file.name == "__main__.py" or '__name__ == "__main__"' in file.read_text(encoding="utf-8")
    )


def texts_of(path: Path) -> Iterator[str]:
    """The strings of a program, with the folder of the peers' programs filled in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr():
                yield ast.unparse(node)[2:-1].replace("{PROGRAMS}", PROGRAMS)
            case _:
                pass


def test_a_program_that_is_named_exists() -> None:
    named = {(path, text) for path in SOURCES for text in texts_of(path) if PROGRAM.fullmatch(text)}
    assert [(str(path), name) for path, name in sorted(named) if not exists(name)] == []


def test_programs_that_are_started_by_their_name_are_found() -> None:
    """The test above sees them."""
    named = {text for path in SOURCES for text in texts_of(path) if PROGRAM.fullmatch(text)}
    assert named >= {"worker.cli.main", "worker.sandbox", "bench.sampled_worker"}
    assert f"{PROGRAMS}.enqueue_runs" in named
    assert not exists(f"{PROGRAMS}.feed")
    assert not exists(f"{PROGRAMS}.on_taskiq:brokers")


def test_a_command_that_is_described_runs_something() -> None:
    named = {
        (path, name) for path in TEXTS for name in STARTED.findall(path.read_text(encoding="utf-8"))
    }
    missing = [(str(path), name) for path, name in named if not is_program(module_file(name))]
    assert sorted(name for _, name in missing if name != "bench.NAME") == []


@pytest.mark.parametrize("name", BENCHES)
def test_make_bench_runs_programs_that_print_json(name: str) -> None:
    file = module_file(f"bench.{name}")
    assert is_program(file)
    assert file is not None
    assert "as_json(" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_can_be_started(peer: Peer) -> None:
    program = module_file(f"{PROGRAMS}.{peer.program}")
    assert program is not None
    if peer.has_queue:
        assert "enqueue" in names_in(program)
    named = [word for word in command(1, peer) if PROGRAM.fullmatch(word)]
    assert named
    assert [name for name in named if not exists(name)] == []
    assert (BENCH / "peers" / "requirements" / f"{peer.requirements}.txt").exists()


@pytest.mark.parametrize("path", IMPORTABLE, ids=lambda path: path.stem)
def test_a_benchmark_can_be_imported(path: Path) -> None:
    importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
