"""Fair keys: each one with waiting jobs has a turn, and none waits at its cap for ever."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from jobs.fairness import AT_CAP, KEYLESS
from jobs.indexes import Index
from worker.store.integrity import IntegrityReader, KeyTurn


def is_wrong(turn: KeyTurn) -> bool:
    """Whether a key misses its turn, has one without jobs, or waits for a run that it has not."""
    if turn.score is None:
        return turn.waits
    if turn.name == KEYLESS:
        return False
    return not turn.waits or (turn.score == AT_CAP and not turn.is_active)


async def wrong_turns(
    reader: IntegrityReader,
    turn_keys: Iterable[str],
    indexes: Sequence[str],
    confirm: Callable[[], Awaitable[None]],
    confirmations: int,
) -> AsyncIterator[tuple[str, KeyTurn]]:
    """The lane and the turn of each key that stays wrong in several atomic reads.

    `indexes` are sorted sets, among them those of the waiting jobs of keys.
    """
    waiting: dict[str, set[str]] = {}
    for key in indexes:
        index = reader.index_of(key)
        if index is not None and index[0] is Index.KEY_QUEUE:
            lane, _, name = index[1].partition("|")
            waiting.setdefault(lane, {KEYLESS}).add(name)
    known = {reader.lane_of_turns(key) or "": key for key in turn_keys}
    for lane in sorted({*known, *waiting}):
        names = set(waiting.get(lane, ()))
        if lane in known:
            async for members in reader.members(known[lane]):
                names.update(members)
        found = await reader.turns(lane, sorted(names))
        for _ in range(confirmations - 1):
            left = [turn.name for turn in found if is_wrong(turn)]
            if not left:
                break
            await confirm()
            found = await reader.turns(lane, left)
        for turn in found:
            if is_wrong(turn):
                yield lane, turn
