"""The audit log is a chain: what is changed, added or removed in between is found."""

import asyncio
import time
from collections.abc import Mapping

import pytest

from tests.store.test_payload_cipher import NEW, OLD, job_named, with_keys
from worker.app.audit_verify import ChainReport, as_async, missing_of, verify_chain
from worker.app.changed_inputs import changed_inputs, patch_note
from worker.store import Store
from worker.store.audit import AuditFilter
from worker.store.codec import decode
from worker.store.commit import VersionedJob
from worker.store.side_writes import NewAuditEntry, SideWrites

SECRET = "a secret cat"


def entry(note: str) -> NewAuditEntry:
    return NewAuditEntry(1.5, "ann", "release", "j", note, 1)


async def verified(store: Store) -> ChainReport:
    return await verify_chain(store.audit.rows(), store.audit.chain)


async def exported(store: Store) -> list[dict[str, str]]:
    return [row async for row in store.audit.rows()]


async def rewrite(store: Store, rows: list[Mapping[str, str]]) -> None:
    """Replace the stream by these entries, under their ids."""
    await store.client.call("DEL", store.keys.audit)
    for row in rows:
        fields = [part for name, text in row.items() if name != "id" for part in (name, text)]
        await store.client.call("XADD", store.keys.audit, row["id"], *fields)


async def test_entries_of_many_processes_at_once_are_one_chain(store: Store) -> None:
    """Alone, in one call with others, and with commits of jobs."""
    others = [with_keys(store, NEW) for _ in range(4)]

    async def act(process: Store, n: int) -> None:
        await process.audit.append(entry(f"alone {n}"))
        stored = await process.jobs.create(job_named(f"j{n}"), b"{}")
        assert stored is not None
        written = await process.jobs.commit(
            stored, stored.job, SideWrites(audit_entry=entry(f"commit {n}"))
        )
        assert isinstance(written, VersionedJob)

    await asyncio.gather(*(act(others[n % 4], n) for n in range(40)))
    report = await verified(others[0])
    assert (report.entries, report.problem, report.unsigned) == (80, "", 0)
    assert len({row["note"] for row in await exported(store)}) == 80


async def test_a_commit_that_lost_its_race_leaves_no_gap(store: Store) -> None:
    stored = await store.jobs.create(job_named("j"), b"{}")
    assert stored is not None
    await store.jobs.commit(stored, stored.job, SideWrites(audit_entry=entry("first")))
    lost, alone = await asyncio.gather(
        store.jobs.commit(stored, stored.job, SideWrites(audit_entry=entry("lost"))),
        store.audit.append(entry("second")),
    )
    assert not isinstance(lost, VersionedJob)
    assert alone is None
    assert [row["note"] for row in await exported(store)] == ["first", "second"]
    assert (await verified(store)).is_sound


@pytest.mark.parametrize("keys", [(), (NEW,)], ids=["without keys", "with a key"])
@pytest.mark.parametrize("damage", ["change", "remove", "swap", "insert"])
async def test_what_was_done_to_the_log_is_found(
    store: Store, damage: str, keys: tuple[bytes, ...]
) -> None:
    process = with_keys(store, *keys)
    for n in range(6):
        await process.audit.append(entry(f"n{n}"))
    rows: list[Mapping[str, str]] = list(await exported(store))
    match damage:
        case "change":
            rows[2] = {**rows[2], "note": "nothing happened"}
            broken = rows[2]["id"]
        case "remove":
            del rows[2]
            broken = rows[2]["id"]
        case "swap":
            rows[2], rows[3] = {**rows[3], "id": rows[2]["id"]}, {**rows[2], "id": rows[3]["id"]}
            broken = rows[2]["id"]
        case _:
            rows[3] = {name: text for name, text in rows[3].items() if name not in ("hash", "prev")}
            broken = rows[3]["id"]
    await rewrite(store, rows)
    report = await verified(process)
    assert (report.broken_at, report.is_sound) == (broken, False)


@pytest.mark.parametrize("damage", ["add a field", "remove a field", "move back", "move forward"])
async def test_an_entry_is_checked_as_it_is_stored(store: Store, damage: str) -> None:
    """With all its fields, also an empty one, and its id, which lists by time go by."""
    process, now = with_keys(store, NEW), time.time()
    for n in range(3):
        await process.audit.append(NewAuditEntry(now, "ann", "release", "j", f"n{n}", 1))
    assert (await verified(process)).late == 0
    rows: list[dict[str, str]] = list(await exported(store))
    at, _, number = rows[0]["id"].partition("-")
    match damage:
        case "add a field":
            rows[0]["by2"] = "bob"
        case "remove a field":
            assert rows[0].pop("changed") == ""
        case "move back":
            rows[0]["id"] = f"{int(at) - 86_400_000}-{number}"
        case _:
            for row in rows:
                moment, _, own = row["id"].partition("-")
                row["id"] = f"{int(moment) + 86_400_000}-{own}"
    await rewrite(store, list(rows))
    report = await verified(process)
    if damage == "move forward":  # as an entry that Redis refused for a day
        assert (report.late, report.first_late) == (3, rows[0]["id"])
    else:
        assert report.broken_at == rows[0]["id"]


async def test_without_the_key_nobody_can_change_an_entry_unseen(store: Store) -> None:
    process = with_keys(store, NEW)
    for n in range(3):
        await process.audit.append(entry(f"n{n}"))
    rows = await exported(store)
    forger, prev = with_keys(store, OLD), rows[0]["hash"]
    for row in rows[1:]:
        row["note"], row["prev"] = "forged", prev
        values = [row[name] for name in ("at", "by", "act", "on", "note", "jobs", "changed")]
        prev = row["hash"] = rows[0]["hash"][:9] + forger.audit.chain.hash_of(prev, values)[9:]
    await rewrite(store, list(rows))
    assert (await verified(process)).broken_at == rows[1]["id"]


async def test_trimming_keeps_the_anchor(store: Store) -> None:
    for n in range(5):
        await store.audit.append(entry(f"n{n}"))
    rows = await exported(store)
    await store.client.call("XTRIM", store.keys.audit, "MAXLEN", 2)
    report = await verified(store)
    assert (report.entries, report.anchor, report.is_sound) == (2, rows[2]["hash"], True)
    await store.audit.append(entry("after"))
    assert (await verified(store)).is_sound


async def test_an_older_state_is_sound_in_itself_and_an_export_shows_what_it_lacks(
    store: Store,
) -> None:
    for n in range(5):
        await store.audit.append(entry(f"n{n}"))
    export = await exported(store)
    await rewrite(store, list(export[:3]))
    await store.audit.append(entry("after the recovery"))
    assert (await verified(store)).is_sound
    missing = await missing_of(as_async(export), store.audit.rows())
    assert missing == (2, export[3]["id"])
    assert await missing_of(as_async(export[:3]), store.audit.rows()) == (0, "")


async def test_entries_of_before_the_chain_come_first(store: Store) -> None:
    await store.client.call("XADD", store.keys.audit, "*", "at", "1", "by", "ann", "act", "x")
    await store.audit.append(entry("chained"))
    report = await verified(store)
    assert (report.entries, report.before_chain, report.is_sound) == (2, 1, True)


async def test_an_entry_under_a_key_that_is_not_there_is_not_believed(store: Store) -> None:
    """Anybody can name a key. Without any key nothing can be said of signed entries."""
    await with_keys(store, OLD).audit.append(entry("old"))
    await with_keys(store, NEW, OLD).audit.append(entry("new"))
    report = await verified(with_keys(store, NEW))
    assert "not set here" in report.problem
    assert report.broken_at == (await exported(store))[0]["id"]
    assert (await verified(with_keys(store, NEW, OLD))).is_sound
    without = await verified(store)
    assert (without.unchecked, without.is_sound) == (2, True)


async def test_forged_entries_behind_signed_ones_are_found(store: Store) -> None:
    signed = with_keys(store, NEW)
    await signed.audit.append(entry("one"))
    (first,) = await exported(store)
    forged = {**first, "by": "mallory", "prev": first["hash"], "hash": f"deadbeef:{'0' * 64}"}
    forged.pop("id")
    fields = [part for pair in forged.items() for part in pair]
    await store.client.call("XADD", store.keys.audit, "*", *fields)
    assert "not set here" in (await verified(signed)).problem
    await rewrite(store, [first])
    await store.audit.append(entry("by a process without keys"))
    assert "not signed" in (await verified(signed)).problem


async def test_of_changed_inputs_only_paths_and_a_keyed_digest_stay(store: Store) -> None:
    before = b'{"prompt":"x","style":{"a":1,"b":2},"gone":1}'
    after = b'{"prompt":"a secret cat","style":{"a":1,"b":3},"new":{"deep":"a secret cat"}}'
    plain = changed_inputs(before, after, store.audit)
    assert decode(plain) == {"paths": ["gone", "new.deep", "prompt", "style.b"]}
    signed = changed_inputs(before, after, with_keys(store, NEW).audit)
    assert decode(signed)["digest"] != changed_inputs(before, after, with_keys(store, OLD).audit)
    assert SECRET not in plain + signed
    patch = {"prompt": SECRET, "style": {"b": None}}
    assert decode(patch_note(patch, store.audit)) == {"paths": ["prompt", "style.b"]}
    wide = {f"k{n}": n for n in range(200)}
    found = decode(patch_note(wide, store.audit))
    assert (len(found["paths"]), found["more"]) == (50, True)


async def test_entries_without_a_hash_in_the_place_of_chained_ones_are_found(store: Store) -> None:
    """Those before the chain were there before its first entry, which follows none."""
    signed = with_keys(store, NEW)
    for n in range(4):
        await signed.audit.append(entry(f"n{n}"))
    rows: list[Mapping[str, str]] = list(await exported(store))
    forged = {name: text for name, text in rows[1].items() if name not in ("hash", "prev")}
    await rewrite(store, [{**forged, "note": "forged"}, *rows[2:]])
    report = await verified(signed)
    assert report.broken_at == rows[2]["id"]
    assert "put in its place" in report.problem


async def test_an_entry_with_numbers_that_are_none_is_shown(store: Store) -> None:
    fields = ("at", "nan", "by", "x", "act", "y", "jobs", "inf")
    await store.client.call("XADD", store.keys.audit, "*", *fields)
    page = await store.audit.page(AuditFilter(), 10, None)
    assert [(one.jobs, one.at > 0) for one in page.entries] == [(0, True)]
