"""The recovery state: when the data of a Redis may be relied on again."""

from dataclasses import replace

import pytest

from jobs.data_recovery import MAX_WAIT_S, DataOrigin, RecoveryFacts, RecoveryState, next_state

NOW = 1_000.0
READY = RecoveryState("e1", "server-1", is_ready=True, since=NOW - 500)
RECOVERING = RecoveryState("e2", "server-2", is_ready=False, since=NOW)
NOBODY = RecoveryFacts("server-2", NOW, subscribers=0, expected=frozenset(), reports={})


def facts(**changes: object) -> RecoveryFacts:
    return replace(NOBODY, **changes)  # type: ignore[arg-type]


def test_a_namespace_that_nobody_uses_yet_is_ready_at_once() -> None:
    assert next_state(None, NOBODY, (), "e9") == RecoveryState(
        "e9", "server-2", is_ready=True, since=NOW, origin=DataOrigin.NEW
    )


@pytest.mark.parametrize(
    ("seen", "known"),
    [
        (facts(subscribers=1), ()),
        (facts(expected=frozenset({"w1"})), ()),
        (NOBODY, ("w1",)),
    ],
    ids=["a worker is connected", "a heartbeat is left", "the caller knows one"],
)
def test_data_that_is_gone_from_under_a_worker_has_to_be_recovered(
    seen: RecoveryFacts, known: tuple[str, ...]
) -> None:
    begun = next_state(None, seen, known, "e9")
    assert begun == RecoveryState("e9", "server-2", False, NOW, origin=DataOrigin.EMPTIED)


def test_who_has_seen_data_takes_an_empty_namespace_for_emptied() -> None:
    begun = RecoveryState("e9", "server-2", is_ready=False, since=NOW, origin=DataOrigin.EMPTIED)
    assert next_state(None, NOBODY, (), "e9", last_epoch="e1") == begun
    assert next_state(begun, NOBODY, (), "e9") is None, "nobody has said who was alive"
    told = facts(expected=frozenset({"w1"}), reports={"w1": "e9"})
    assert next_state(begun, told, (), "e9") == replace(begun, is_ready=True)
    assert next_state(begun, facts(now=NOW + MAX_WAIT_S), (), "e9") == replace(begun, is_ready=True)


def test_who_knows_of_data_corrects_a_process_that_took_an_empty_redis_for_new() -> None:
    mistaken = RecoveryState("e5", "server-2", is_ready=True, since=NOW, origin=DataOrigin.NEW)
    begun = replace(mistaken, epoch="e9", is_ready=False, origin=DataOrigin.EMPTIED)
    assert next_state(mistaken, NOBODY, (), "e9", last_epoch="e1") == begun
    for last_epoch in (None, "e5"):
        assert next_state(mistaken, NOBODY, (), "e9", last_epoch=last_epoch) is None
    recovered = replace(mistaken, origin=DataOrigin.EMPTIED)
    assert next_state(recovered, NOBODY, (), "e9", last_epoch="e1") is None


def test_data_of_another_server_has_to_be_recovered_even_if_no_worker_is_known() -> None:
    begun = next_state(READY, NOBODY, (), "e9")
    assert begun == RecoveryState("e9", "server-2", False, NOW)
    assert next_state(replace(READY, server="server-2"), NOBODY, ("w1",), "e9") is None


def test_an_older_state_of_the_same_server_has_to_be_recovered_once() -> None:
    ready = replace(READY, server="server-2")
    begun = replace(ready, epoch="e9", is_ready=False, since=NOW, origin=DataOrigin.OLDER)
    assert next_state(ready, NOBODY, (), "e9", last_epoch="e1", older_epoch="e1") == begun
    others = replace(ready, epoch="e7")
    assert next_state(others, NOBODY, (), "e9", last_epoch="e1", older_epoch="e1") is None


@pytest.mark.parametrize(
    ("seen", "known", "is_ready"),
    [
        (NOBODY, (), True),
        (facts(expected=frozenset({"w1"})), (), False),
        (facts(expected=frozenset({"w1"}), reports={"w1": "e1"}), (), False),
        (facts(expected=frozenset({"w1"}), reports={"w1": "e2"}), (), True),
        (facts(reports={"w1": "e2"}), ("w1", "w2"), False),
        (facts(reports={"w1": "e2", "w2": "e2"}), ("w1", "w2"), True),
        (facts(subscribers=2, reports={"w1": "e2"}), (), False),
        (facts(subscribers=2, reports={"w1": "e2", "w2": "e2"}), (), True),
        (facts(expected=frozenset({"w1"}), now=NOW + MAX_WAIT_S - 0.1), (), False),
        (facts(expected=frozenset({"w1"}), now=NOW + MAX_WAIT_S), (), True),
        (facts(subscribers=2, now=NOW + MAX_WAIT_S), ("w1",), True),
    ],
)
def test_it_is_ready_once_every_worker_has_reported_or_the_time_is_over(
    seen: RecoveryFacts, known: tuple[str, ...], *, is_ready: bool
) -> None:
    after = next_state(RECOVERING, seen, known, "e9")
    assert after == (replace(RECOVERING, is_ready=True) if is_ready else None)
