"""The Lua scripts: documented as they are called, short, and loaded when the server forgot them."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

import pytest
from arq import ArqRedis

from jobs import moves
from jobs.decide import Looks
from jobs.lanes import Lane
from jobs.places import Index
from jobs.states import Kind
from tests.unit.core.make import NOW, a_job, running
from worker.store import Store
from worker.store.changes import Change, Extra, Stored, WakeUp, gate_step
from worker.store.client import Argument, Client, Command
from worker.store.keys import Keys
from worker.store.scripts import NAMES, Scripts, source


@dataclass(frozen=True, slots=True)
class Head:
    """The head comment of a script."""

    what: str
    keys: str
    args: str
    returns: str


def head(name: str) -> Head:
    lines = [line for line in source(name).splitlines() if line.startswith("--")]
    text = " ".join(line.removeprefix("--").strip() for line in lines)
    parts = re.fullmatch(r"(.+) KEYS: (.+) ARGV: (.+) Returns: (.+)", text)
    assert parts, f"{name}.lua: a head comment says what it does, KEYS, ARGV and Returns"
    return Head(*(part.strip() for part in parts.groups()))


def numbered(text: str) -> list[str]:
    """The numbers of documented arguments: `1 the hash; 2.. the others` has 1 and 2.. ."""
    return re.findall(r"(?:^|[,;] )(\d+(?:\.\.)?) ", text)


class Recorder(Client):
    """Keeps what is sent, and answers with what is asked of it."""

    def __init__(self, reply: object) -> None:
        super().__init__(cast("ArqRedis", None))
        self.sent: list[Command] = []
        self._reply = reply

    async def call(self, *command: Argument) -> Any:
        self.sent.append(command)
        return self._reply

    async def try_many(self, commands: Sequence[Command]) -> list[Any]:
        self.sent += commands
        return [self._reply] * len(commands)


def split(command: Command) -> tuple[list[Argument], list[Argument]]:
    """KEYS and ARGV of an EVALSHA."""
    name, _, count, *rest = command
    assert name == "EVALSHA"
    assert isinstance(count, int)
    return rest[:count], rest[count:]


def test_every_file_is_a_known_script() -> None:
    assert sorted(NAMES) == sorted(
        file.name.removesuffix(".lua") for file in (files("worker.store") / "lua").iterdir()
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_short_and_says_what_it_does(name: str) -> None:
    assert 8 <= len(source(name).splitlines()) <= 70
    assert head(name).what[0].isupper()
    assert head(name).returns


@pytest.mark.parametrize("name", NAMES)
def test_a_script_names_no_key_itself(name: str) -> None:
    """Every key comes in through KEYS: a cluster, and a reader, can tell what is touched."""
    code = [line for line in source(name).splitlines() if not line.startswith("--")]
    calls = re.findall(r'redis\.call\("\w+", ([^,)]+)', "\n".join(code))
    assert calls
    assert all(re.fullmatch(r"KEYS\[\w+\]|key", key) for key in calls)


Call = Callable[[Scripts], Awaitable[object]]
CALLS: dict[str, tuple[Call, object, list[str], list[str], list[Argument], list[Argument]]] = {
    "claim": (
        lambda scripts: scripts.claim("set", 1.5, 2.5, 3),
        [],
        ["1"],
        ["1", "2", "3"],
        ["set"],
        [1.5, 2.5, 3],
    ),
    "swap": (
        lambda scripts: scripts.swap("hash", "field", b"old", b"new"),
        1,
        ["1"],
        ["1", "2", "3"],
        ["hash"],
        ["field", b"old", b"new"],
    ),
    "mend": (
        lambda scripts: scripts.strike("hash", "set", "1.aa", "j1"),
        1,
        ["1", "2.."],
        ["1"],
        ["hash", "set"],
        ["1.aa", "R", 2, "j1"],
    ),
    "retire": (
        lambda scripts: scripts.retire("register", "name", ["a", "b"]),
        1,
        ["1", "2.."],
        ["1"],
        ["register", "a", "b"],
        ["name"],
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_wrapper_sends_what_the_head_comment_documents(name: str) -> None:
    call, reply, keys, args, sent_keys, sent_args = CALLS[name]
    client = Recorder(reply)
    await call(Scripts(client))
    (command,) = client.sent
    assert split(command) == (sent_keys, sent_args)
    assert (numbered(head(name).keys), numbered(head(name).args)) == (keys, args)


async def test_reschedule_sends_a_key_and_three_facts_a_job() -> None:
    client = Recorder(2)
    rows = [("job:a", "a", 1.5, "1:2:3:4"), ("job:b", "b", 2.5, "5:6:7:8")]
    assert await Scripts(client).reschedule("inflight", rows) == 2
    assert split(client.sent[0]) == (
        ["inflight", "job:a", "job:b"],
        ["a", 1.5, "1:2:3:4", "b", 2.5, "5:6:7:8"],
    )
    assert numbered(head("reschedule").keys) == ["1", "2.."]
    assert head("reschedule").args == "for each job its id, the time of its next poll, its looks"


# commit.lua speaks a small language of operations.


def grammar() -> dict[str, int]:
    """Letter → number of arguments behind the key, as the head comment has it."""
    rows = re.findall(r"^-- {9}([A-Z]) key((?: \w+)+) {2,}", source("commit"), re.MULTILINE)
    return {letter: len(words.split()) for letter, words in rows}


def a_change_of_everything() -> Change:
    """A change that uses every operation there is."""
    keys = Keys("t")
    before = a_job(tags=("old",))
    after = moves.admit(before, NOW, hop="h", lease_until=NOW, gates=("g",))
    wake_up = WakeUp("j1:h", b"{}", 1, 1000)
    extra = Extra(b"{}", b"[]", (gate_step("g", 1),), wake_up)
    change = Change(keys, "j1", "1.aa").write(before, after, extra)
    queued = Change(keys, "j2", "").write(None, a_job(tags=("new",)), Extra())
    assert set(operations(change)) | set(operations(queued)) == set(grammar())
    return change


def operations(change: Change) -> dict[str, list[list[Argument]]]:
    """The operations of a change, read by the grammar of the head comment."""
    arity = grammar()
    fields = change.args[3]
    assert isinstance(fields, int)
    rest = change.args[4 + 2 * fields :]
    found: dict[str, list[list[Argument]]] = {}
    while rest:
        letter, key, *rest = rest
        assert isinstance(letter, str)
        assert isinstance(key, int)
        assert 1 <= key <= len(change.keys)
        args, rest = rest[: arity[letter]], rest[arity[letter] :]
        found.setdefault(letter, []).append([change.keys[key - 1], *args])
    return found


def test_a_change_speaks_the_grammar_of_the_head_comment() -> None:
    change = a_change_of_everything()
    found = operations(change)
    assert change.keys[0] == "t:job:j1"
    assert change.args[:2] == ["1.aa", change.rev]
    assert change.args[3:8] == [2, "inputs", b"{}", "result", b"[]"]
    assert found["C"] == [["t:gate:g", 1]]
    assert found["S"] == [["arq:job:j1:h", b"{}", 1000]]
    assert ["t:lease", NOW, "j1"] in found["A"]
    assert ["t:queue", 1, "j1:h"] in found["A"]
    assert ["t:lane:default/model/suno", "j1"] in found["R"]
    assert len(set(change.keys)) == len(change.keys)


def test_limits_come_first_so_that_nothing_is_written_before_they_are_checked() -> None:
    letters = [arg for arg in a_change_of_everything().args if arg in tuple("CANRSP")]
    assert letters.index("C") == 0


def test_the_script_knows_every_letter_of_its_grammar_and_no_other() -> None:
    handled = set(re.findall(r'(?:op|ARGV\[i\]) == "([A-Z])"', source("commit")))
    assert handled == set(grammar()) == set("CANRSP")
    assert numbered(head("commit").keys) == ["1", "2.."]
    assert numbered(head("commit").args) == ["1", "2", "3", "4"]


def test_a_revision_counts_up_and_is_never_the_same_twice() -> None:
    keys = Keys("t")
    job = a_job()
    first, other = (Change(keys, "j1", "").write(None, job, Extra()).rev for _ in range(2))
    assert first != other
    assert first.startswith("1.")
    assert Change(keys, "j1", "41.beef").write(job, job, Extra()).rev.startswith("42.")


async def test_an_unknown_operation_is_refused(store: Store) -> None:
    change = Change(store.keys, "j1", "").write(None, a_job(), Extra())
    with pytest.raises(Exception, match="unknown operation Z"):
        await Scripts(store.client).commit(change.keys, [*change.args, "Z", 1])
    await store.client.call("DEL", *change.keys)


async def test_every_script_survives_a_server_that_forgot_it(store: Store) -> None:
    async def forget() -> None:
        await store.client.call("SCRIPT FLUSH")

    await forget()
    stored = await store.jobs.create(running(), b"{}")
    assert stored is not None
    await forget()
    written = await store.jobs.commit(stored, moves.ask_cancel(stored.job, NOW))
    assert isinstance(written, Stored)
    await forget()
    assert len(await store.jobs.claim_polls(NOW, NOW + 9, 5)) == 1
    await forget()
    assert await store.jobs.reschedule([(stored.job, NOW + 5, Looks(1))]) == 1
    await forget()
    assert await Scripts(store.client).swap(f"{store.keys.namespace}:h", "f", b"", b"v")
    await forget()
    assert not await store.jobs.strike(stored, Index.DUE)
    await forget()
    assert await store.lanes.retire(Lane("default", Kind.MODEL, "suno"))


async def test_a_server_that_forgot_a_script_is_told_it_once(store: Store) -> None:
    scripts = Counting(store.client)
    await store.client.call("SCRIPT FLUSH")
    for number in range(3):
        change = Change(store.keys, f"j{number}", "").write(None, a_job(id=f"j{number}"), Extra())
        assert await scripts.commit(change.keys, change.args) == [b"ok"]
    assert scripts.loaded == ["commit"]
    assert await store.client.call("ZCARD", store.keys.index(Index.ALL)) == 3


class Counting(Scripts):
    """Notes which scripts it loads."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.loaded: list[str] = []

    async def _load(self, name: str) -> None:
        self.loaded.append(name)
        await super()._load(name)
