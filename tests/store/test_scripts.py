"""The Lua scripts: documented as they are called, short, and loaded when the server forgot them."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

import msgspec
import pytest
from arq import ArqRedis
from redis.exceptions import NoScriptError, ResponseError

from jobs import transitions
from jobs.budgets.reservation import Reservation
from jobs.budgets.use import BudgetPart
from jobs.credits.charges import KEPT_S, MAX_LANES, day_of
from jobs.effects import PollHistory
from jobs.fairness import FairTurn
from jobs.indexes import Index
from jobs.lanes import Lane
from jobs.outcomes import Accepted, Finished
from jobs.states import Kind, State
from tests.unit.core.job_builders import NOW, a_job, running, submitted
from worker.store import Store
from worker.store.client import Argument, Client, Command
from worker.store.commit import MAX_EVENT_ENTRIES, Change, TransitionEvent, VersionedJob, assemble
from worker.store.keys import Keys
from worker.store.polls import NextPoll
from worker.store.preconditions import BudgetCheck, EpochCheck, ParentCheck, canary_limit, lane_cap
from worker.store.refusals import RefusalCode, redis_refusal
from worker.store.scripts import PART_LINE, SCRIPT_NAMES, Scripts, source
from worker.store.side_writes import ArqWakeup, NewAuditEntry, SideWrites


@dataclass(frozen=True, slots=True)
class ScriptHead:
    """The head comment of a script."""

    what: str
    keys: str
    args: str
    returns: str


def head(name: str) -> ScriptHead:
    lines = [line for line in source(name).splitlines() if line.startswith("--")]
    text = " ".join(line.removeprefix("--").strip() for line in lines)
    parts = re.fullmatch(r"(.+) KEYS: (.+) ARGV: (.+) Returns: (.+)", text)
    assert parts, f"{name}.lua: a head comment says what it does, KEYS, ARGV and Returns"
    return ScriptHead(*(part.strip() for part in parts.groups()))


def numbered(text: str) -> list[str]:
    """The numbers of documented arguments: `1 the hash; 2.. the others` has 1 and 2.. ."""
    return re.findall(r"(?:^|[,;] )(\d+(?:\.\.)?) ", text)


class RecordingClient(Client):
    """Records what is sent, and answers with the configured reply."""

    def __init__(self, reply: object) -> None:
        super().__init__(cast("ArqRedis", None))
        self.sent: list[Command] = []
        self._reply = reply

    @property
    def generation(self) -> int:
        return 0

    async def call(self, *command: Argument) -> Any:
        self.sent.append(command)
        return self._reply


def split(command: Command) -> tuple[list[Argument], list[Argument]]:
    """KEYS and ARGV of an EVALSHA."""
    name, _, count, *rest = command
    assert name == "EVALSHA"
    assert isinstance(count, int)
    return rest[:count], rest[count:]


def test_every_file_is_a_known_script() -> None:
    assert sorted(SCRIPT_NAMES) == sorted(
        file.name.removesuffix(".lua") for file in FOLDER.iterdir() if file.is_file()
    )


def test_every_part_is_in_a_script_and_is_short() -> None:
    texts = [(FOLDER / f"{name}.lua").read_text() for name in SCRIPT_NAMES]
    included = [line[1] for text in texts for line in PART_LINE.finditer(text)]
    parts = {file.name.removesuffix(".lua"): file for file in (FOLDER / "parts").iterdir()}
    assert sorted(included) == sorted(parts)
    for name, part in parts.items():
        assert len(part.read_text().splitlines()) <= LONGEST_PART, name
        assert part.read_text().startswith("-- A part of ")


FOLDER = files("worker.store") / "lua"
LONGEST_PART = 60
LONGEST = {"commit": 250}
"""The script that may be long: it parses the changes of many jobs and writes them in one step."""


@pytest.mark.parametrize("name", SCRIPT_NAMES)
def test_a_script_is_short_and_says_what_it_does(name: str) -> None:
    text = (FOLDER / f"{name}.lua").read_text()
    assert 8 <= len(text.splitlines()) <= LONGEST.get(name, 60)
    assert head(name).what[0].isupper()
    assert head(name).returns


@pytest.mark.parametrize("name", SCRIPT_NAMES)
def test_a_script_names_no_key_itself(name: str) -> None:
    """Every key is passed in KEYS, so a cluster and a reader know which keys a script uses."""
    lines = [line for line in source(name).splitlines() if not line.startswith("--")]
    code = "\n".join(lines)
    code = re.sub(r'redis.p?call\("(?:INFO", "\w+|TIME)"\)', "", code)
    calls = re.findall(r'redis\.p?call\("\w+", ([^,)]+)', code)
    assert len(calls) == len(re.findall(r"redis\.p?call", code)) > 0
    assert all(re.fullmatch(r"KEYS\[\w+\]|key", key) for key in calls)
    given = re.findall(r"\bkey(?:, \w+)* = (.*)", code)
    assert all('"' not in value and ".." not in value for value in given), "no key is put together"


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
    "repair": (
        lambda scripts: scripts.remove_entry("hash", "set", "1.aa", "j1"),
        1,
        ["1", "2.."],
        ["1"],
        ["hash", "set"],
        ["1.aa", "R", 2, "j1"],
    ),
    "poll": (
        lambda scripts: scripts.poll(("set", "hash"), 1.5, 2.5, 3, ("j1", "j2")),
        [[], [], b""],
        ["1", "2"],
        ["1", "2", "3", "4.."],
        ["set", "hash"],
        [1.5, 2.5, 3, "j1", "j2"],
    ),
    "retire": (
        lambda scripts: scripts.retire("register", "name", ["a", "b"], ["c"]),
        1,
        ["1", "2.."],
        ["1", "2"],
        ["register", "a", "b", "c"],
        ["name", 1],
    ),
    "remove_seen": (
        lambda scripts: scripts.remove_seen("set", "name", 1.5),
        1,
        ["1"],
        ["1", "2"],
        ["set"],
        ["name", 1.5],
    ),
    "seal_batch": (
        lambda scripts: scripts.seal_batch(["hash", "open", "changes"], [1.5, "b", "sealed_at"]),
        1,
        ["1", "2", "3"],
        ["1", "2", "3"],
        ["hash", "open", "changes"],
        [1.5, "b", "sealed_at"],
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_wrapper_sends_what_the_head_comment_documents(name: str) -> None:
    call, reply, keys, args, sent_keys, sent_args = CALLS[name]
    client = RecordingClient(reply)
    await call(Scripts(client))
    (command,) = client.sent
    assert split(command) == (sent_keys, sent_args)
    assert (numbered(head(name).keys), numbered(head(name).args)) == (keys, args)


async def test_reschedule_sends_four_facts_a_job() -> None:
    client = RecordingClient(2)
    rows = [("a", None, 1.5, "1:2:3:4"), ("b", 9.5, 2.5, "5:6:7:8")]
    assert await Scripts(client).reschedule(("inflight", "polls"), rows) == 2
    assert split(client.sent[0]) == (
        ["inflight", "polls"],
        ["a", "", 1.5, "1:2:3:4", "b", 9.5, 2.5, "5:6:7:8"],
    )
    assert numbered(head("reschedule").keys) == ["1", "2"]
    assert head("reschedule").args == (
        'for each job its id, the lease it was claimed under ("" for any), the time of its next '
        "poll, its poll history"
    )


async def test_what_a_poll_claims_comes_with_its_time_its_poll_history_and_the_next_one() -> None:
    client = RecordingClient([[b"a", b"1.5", b"b", b"2"], [None, b"1:2:3:4"], b"7.25"])
    found = await Scripts(client).poll(("inflight", "polls"), 3, 9, 5)
    assert found == ([("a", 1.5, None), ("b", 2.0, b"1:2:3:4")], 7.25)
    none: list[bytes] = []
    assert await Scripts(RecordingClient([none, none, b""])).poll(("i", "l"), 3, 9, 5) == ([], None)


# commit.lua speaks a small language of operations.

HEADER = 5
"""The number of the hash, revision expected, next revision, record, number of further fields."""


def grammar() -> dict[str, int]:
    """Letter → number of arguments after the key, from the head comment."""
    rows = re.findall(r"^-- {9}([A-Z]) key((?: \w+)*) {2,}", source("commit"), re.MULTILINE)
    return {letter: len(words.split()) for letter, words in rows}


@dataclass(frozen=True, slots=True)
class ParsedChange:
    """A change, parsed by the grammar of the head comment alone."""

    key: str
    """The job's hash; empty where the change is operations alone."""
    header: list[Argument]
    """Revision expected, next revision, record."""
    fields: list[Argument]
    ops: dict[str, list[list[Argument]]]
    """Letter → key and arguments of each operation."""
    letters: str
    """The letters in order."""


def parse_changes(keys: Sequence[str], args: Sequence[Argument]) -> list[ParsedChange]:
    """The changes of a call, read by the grammar of the head comment."""
    found: list[ParsedChange] = []
    rest = list(args)
    while rest:
        number, *header, count = rest[:HEADER]
        assert isinstance(number, int)
        assert isinstance(count, int)
        fields, rest = rest[HEADER : HEADER + 2 * count], rest[HEADER + 2 * count :]
        length, *rest = rest
        assert isinstance(length, int)
        ops, letters = operations(keys, rest[:length])
        key = keys[number - 1] if number else ""
        found.append(ParsedChange(key, header, fields, ops, letters))
        rest = rest[length:]
    return found


def operations(
    keys: Sequence[str], args: list[Argument]
) -> tuple[dict[str, list[list[Argument]]], str]:
    arity = grammar()
    found: dict[str, list[list[Argument]]] = {}
    letters = ""
    while args:
        letter, key, *args = args
        assert isinstance(letter, str)
        assert isinstance(key, int)
        assert 1 <= key <= len(keys)
        found.setdefault(letter, []).append([keys[key - 1], *args[: arity[letter]]])
        args = args[arity[letter] :]
        letters += letter
    return found, letters


KEYS = Keys("t")


def admission() -> Change:
    before = a_job(tags=("old",))
    after = transitions.admit(
        before,
        NOW,
        submit_token="h",
        lease_until=NOW,
        opening_hold_ids=("g",),
        reservations=(Reservation("b", 3, "2026-11", 5),),
    )
    limits = (canary_limit("g", 1), lane_cap(before.lane, 2))
    checks = (EpochCheck("default/model|unknown_outcome", 7),)
    budgets = (BudgetCheck("b", 3, "2026-11", 90, 5, 1, 2),)
    extra = SideWrites(b"{}", b"[]", limits, checks, budgets, 4, data_epoch="e1")
    return Change(KEYS, "j1", "1.aa").write(before, after, extra)


def parked_by_ann() -> Change:
    before, act = a_job(id="j4"), NewAuditEntry(NOW, "ann", "park", "j4", "so", 1)
    after = transitions.park_manual(before, NOW, by="ann", note="so")
    return Change(KEYS, "j4", "1.cc").write(before, after, SideWrites(audit_entry=act))


def everything_there_is() -> list[Change]:
    """Changes that use every operation there is."""
    return [
        admission(),
        Change(KEYS, "j2", "").write(None, a_job(id="j2", tags=("new",)), SideWrites()),
        Change(KEYS, "", "").wake(ArqWakeup("j1:h", b"{}", 1, 1000)),
        Change(KEYS, "j3", "7.bb").delete(running(id="j3")),
        parked_by_ann(),
        accepted(),
        charged(),
        finished_in_a_batch(),
        finished_with_a_key(),
        *turns_taken(),
        waiting_for_another(),
    ]


def waiting_for_another() -> Change:
    job = a_job(id="child", state=State.WAITING, after=("j1",), parents_check_at=NOW)
    return Change(KEYS, "child", "").write(None, job, SideWrites(parents=(ParentCheck("j1", 3),)))


def accepted() -> Change:
    before = submitted(id="j5")
    after = transitions.accept(before, NOW, Accepted("ex-5"), next_poll_at=NOW)
    return Change(KEYS, "j5", "1.dd").write(before, after, SideWrites())


def charged() -> Change:
    before = running(id="j6")
    after = transitions.succeed(before, NOW, Finished(b"{}", cost=2.5))
    return Change(KEYS, "j6", "1.ee").write(before, after, SideWrites())


def finished_in_a_batch() -> Change:
    before = running(id="j7", batch="b")
    after = transitions.succeed(before, NOW, Finished(b"{}"))
    return Change(KEYS, "j7", "1.ff").write(before, after, SideWrites(joins_batch="b"))


def finished_with_a_key() -> Change:
    before = running(id="j8", fair_key="ann")
    after = transitions.succeed(before, NOW, Finished(b"{}"))
    return Change(KEYS, "j8", "1.ab").write(before, after, SideWrites())


def turns_taken() -> list[Change]:
    jobs = (a_job(id="j9", fair_key="ann"), a_job(id="j10"))
    return [
        Change(KEYS, job.id, "1.ac").write(
            job,
            transitions.admit(job, NOW, submit_token="h", lease_until=NOW, opening_hold_ids=()),
            SideWrites(fair_turn=FairTurn(NOW, 3)),
        )
        for job in jobs
    ]


def test_a_batch_speaks_the_grammar_of_the_head_comment() -> None:
    changes = everything_there_is()
    keys, args = assemble(changes)
    admitted, queued_, wake, deleted, parked, running_, paid, done, *_, child = parse_changes(
        keys, args
    )
    assert {letter for change in parse_changes(keys, args) for letter in change.letters} == set(
        grammar()
    )
    assert len(set(keys)) == len(keys), "a key is named once, however many changes name it"
    assert (admitted.key, queued_.key, wake.key, deleted.key) == (
        *("t:job:j1", "t:job:j2"),
        *("", "t:job:j3"),
    )
    assert admitted.header == ["1.aa", changes[0].rev, changes[0].record]
    assert admitted.fields == ["inputs", b"{}", "result", b"[]"]
    assert admitted.ops["C"] == [["t:gate:g", 1], ["t:active:default/model/suno", 2]]
    assert admitted.ops["B"] == [
        ["t:breakers", "default/model|unknown_outcome", 7],
        ["t:budgets", "", 4],
    ]
    use = "t:budget-use:b:3:2026-11"
    assert admitted.ops["M"] == [[use, 90, 5, 1, 2]]
    assert admitted.ops["H"] == [[use, "reserved", "reserved", len(BudgetPart), 5, KEPT_S]]
    assert admitted.ops["V"] == [["t:recovery", "e1"]]
    assert ["t:lease", NOW, "j1"] in admitted.ops["A"]
    assert ["t:lane:default/model/suno", "j1"] in admitted.ops["R"]
    assert queued_.header[0] == ""
    assert queued_.ops["N"] == [["t:lanes", NOW, "default/model/suno"]]
    assert queued_.ops["P"] == [["t:wake", "default/model/suno"]]
    assert wake.ops == {
        "S": [["arq:job:j1:h", b"{}", 1000]],
        "A": [["t:queue", 1, "j1:h"]],
    }
    assert deleted.header == ["7.bb", "", b""]
    assert deleted.ops["D"] == [["t:polls", "j3"]]
    assert ["t:inflight", "j3"] in deleted.ops["R"]
    assert running_.ops["X"] == [["t:run-owner:ex-5", "j5"]]
    assert running_.ops["O"] == [["t:execution:ex-5", "j5"]]
    assert running_.ops["S"] == [["t:run-owner:ex-5", "j5", 86_400_000]]
    day, lane = day_of(NOW), "default/model/suno"
    other = "default/model/other"
    assert paid.ops["H"] == [
        [f"t:ledger:{day}:lane:credits", lane, other, MAX_LANES, 2_500_000, KEPT_S],
        [f"t:ledger:{day}:lane:charges", lane, other, MAX_LANES, 1, KEPT_S],
    ]
    numbers = [keys.index(f"t:batch-{name}:b") + 1 for name in ("open", "settled")]
    assert done.ops["Z"] == [["t:batch-record:b", *numbers, "j7"]]
    assert done.ops["B"] == [["t:batch-record:b", "sealed", 0]]
    assert ["t:batch-open:b", "j7"] in done.ops["R"]
    assert ["t:batch-changes", NOW, "b"] in done.ops["A"]
    assert done.ops["W"] == [["t:settled-parents", NOW, "j7", "t:wake"]]
    assert deleted.ops["K"] == [["t:waiting-children:j3"]]
    assert child.ops["B"] == [["t:job:j1", "rev", 3]]
    assert child.ops["F"] == [["t:job:j1", "children", 1]]
    assert ["t:waiting", NOW, "child"] in child.ops["A"]
    assert ["t:waiting-children:j1", NOW, "child"] in child.ops["A"]
    at, digest = repr(NOW), changes[4].audit_hash
    assert digest
    assert parked.ops["L"] == [["t:audit", "", at, "ann", "park", "j4", "so", "1", "", digest]]
    ((events, kept, event),) = admitted.ops["E"]
    assert (events, kept) == ("t:events", MAX_EVENT_ENTRIES)
    assert isinstance(event, bytes)
    expected = TransitionEvent("j1", "default/model/suno", State.QUEUED, State.SUBMITTING, NOW)
    assert msgspec.json.decode(event, type=TransitionEvent) == expected


def test_limits_come_first_so_that_nothing_is_written_before_they_are_checked() -> None:
    for change in parse_changes(*assemble(everything_there_is())):
        rest = re.sub("^C*B*M*K*V*X*O*", "", change.letters)
        assert not set("CBMKVXO") & set(rest)
    assert parse_changes(*assemble([admission()]))[0].letters.startswith("CCB")


def test_the_script_knows_every_letter_of_its_grammar_and_no_other() -> None:
    text = source("commit")
    handled = set(re.findall(r'(?:op|ARGV\[i\]) == "([A-Z])"', text))
    checks = re.findall(r"([A-Z]) = \d", text)
    assert set(checks) == set("CBMKVXO")
    handled |= set(checks)
    assert handled == set(grammar()) == set("CBMKVXOANURDSPELHZTFW")
    assert numbered(head("commit").keys) == numbered(head("commit").args) == []
    assert head("commit").keys == "every key that the changes name"


async def test_a_wrapper_sends_a_batch_as_it_was_assembled() -> None:
    changes = everything_there_is()
    client = RecordingClient([b"ok"] * len(changes))
    scripts, written = Scripts(client), ["ok"] * len(changes)
    assert await asyncio.gather(*map(scripts.commit, changes)) == written
    (command,) = client.sent
    assert split(command) == assemble(changes)


def test_a_revision_counts_up_and_is_never_the_same_twice() -> None:
    job = a_job()
    first, other = (Change(KEYS, "j1", "").write(None, job, SideWrites()).rev for _ in range(2))
    assert first != other
    assert first.startswith("1.")
    assert Change(KEYS, "j1", "41.beef").write(job, job, SideWrites()).rev.startswith("42.")


async def test_an_unknown_operation_is_refused(store: Store) -> None:
    change = Change(store.keys, "j1", "").write(None, a_job(), SideWrites())
    change.ops.append(("Q", change.key, 1))
    with pytest.raises(ResponseError, match="unknown operation Q"):
        await Scripts(store.client).commit(change)


async def test_every_script_survives_a_server_that_forgot_it(store: Store) -> None:
    async def forget() -> None:
        await store.client.call("SCRIPT FLUSH")

    await forget()
    stored = await store.jobs.create(running(), b"{}")
    assert stored is not None
    await forget()
    written = await store.jobs.commit(stored, transitions.request_cancel(stored.job, NOW))
    assert isinstance(written, VersionedJob)
    await forget()
    due = (await store.polls.claim(NOW, NOW + 9, 5)).polls
    assert len(due) == 1
    await forget()
    assert await store.polls.reschedule([NextPoll(stored.job, NOW + 5, PollHistory(1))]) == 1
    await forget()
    assert await Scripts(store.client).swap(f"{store.keys.namespace}:h", "f", b"", b"v")
    await forget()
    assert not await store.jobs.remove_stale_entry(stored, Index.DUE)
    await forget()
    assert await store.lanes.retire(Lane("default", Kind.MODEL, "suno"))


class FlushingClient(Client):
    """Another client flushes the scripts just before the next calls."""

    flushes = 0

    async def call(self, *command: Argument) -> Any:
        if command[0] == "EVALSHA" and self.flushes:
            self.flushes -= 1
            await super().call("SCRIPT FLUSH")
        return await super().call(*command)


async def test_a_call_loads_its_script_as_often_as_it_is_flushed(store: Store) -> None:
    client = FlushingClient(store.client.redis)
    client.flushes = 4
    change = Change(store.keys, "j1", "").write(None, a_job(), SideWrites())
    assert await Scripts(client).commit(change) == "ok"
    client.flushes = 100
    with pytest.raises(NoScriptError) as refused:
        await Scripts(client).commit(change)
    refusal = redis_refusal(refused.value)
    assert refusal is not None
    assert refusal.code is RefusalCode.NOSCRIPT


async def test_a_server_that_forgot_a_script_is_sent_it_once(store: Store) -> None:
    scripts = LoadRecordingScripts(store.client)
    await store.client.call("SCRIPT FLUSH")
    for number in range(3):
        change = Change(store.keys, f"j{number}", "").write(
            None, a_job(id=f"j{number}"), SideWrites()
        )
        assert await scripts.commit(change) == "ok"
    assert scripts.loaded == ["commit"]
    assert await store.client.call("ZCARD", store.keys.index(Index.ALL)) == 3


class LoadRecordingScripts(Scripts):
    """Records which scripts it loads."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.loaded: list[str] = []

    async def _load(self, name: str) -> None:
        self.loaded.append(name)
        await super()._load(name)
