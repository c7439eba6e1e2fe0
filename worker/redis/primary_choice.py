"""Which server is the primary, of what the Sentinels answer.

A failover takes a majority of the Sentinels and gives the new primary a higher epoch. The one that
leads it knows first; the others hear of it by hello messages, which come every 2 s, and at once
after a promotion. A Sentinel may also be wrong: one that was away during a failover names a former
primary, of a lower epoch. One that was set up for another server, or that belongs to another
deployment with a service of the same name, names a stranger, of any epoch. So:

1. A server counts if at least half of all Sentinels name it, and more than half of those that
   answer. Its epoch is the highest that as many have reached. The others alone cannot make a
   failover.
2. Of a higher epoch than that of the known primary, it is the primary at once.
3. Of the same epoch, which no failover has, it is if more than half of all name it: they were set
   up for another server.
4. Of a lower epoch, it is after `SETTLED_AFTER_S`: they were set up again.
5. If none counts, the known primary stays; if there is none, none is chosen.
6. The primary is confirmed if it is the server that counts, and no other of a higher epoch was
   heard of in the last `SETTLED_AFTER_S`: that may be a failover which the rest has yet to hear of.
   After that time, a server that only a minority names is ignored. It is never followed, since
   what is written to a stranger is lost, while a pause of sends costs a few seconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

SETTLED_AFTER_S: Final = 5.0
"""How long Sentinels may take to agree: more than two of their hello messages."""


@dataclass(frozen=True, slots=True)
class SentinelAnswer:
    """The primary that a Sentinel names."""

    address: tuple[str, int]
    epoch: int
    """Of the failover that made it the primary: a higher one is newer."""
    sentinel: str = field(default="", compare=False)
    """Which Sentinel says so."""

    def __str__(self) -> str:
        host, port = self.address
        return f"{host}:{port}, epoch {self.epoch}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the answers of one moment come to."""

    primary: SentinelAnswer | None
    """The server to use; None if it is not known."""
    is_confirmed: bool
    """Whether it is certain enough to send what costs."""
    problem: str = ""
    """Which Sentinels name what, where they disagree, or that too few answer."""

    def replaces(self, former: SentinelAnswer) -> bool:
        """Whether connections to the former primary are outdated; so after a failover and back."""
        found = self.primary
        is_same = found is None or found.address == former.address
        return not is_same or (found is not None and found.epoch > former.epoch)


class PrimaryChoice:
    """Chooses; remembers since when a minority, or a lower epoch, contradicts.

    `total`: how many Sentinels there are.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.needed = (total + 1) // 2
        """How many have to name a server: the others alone cannot make a failover."""
        self._lower_since: float | None = None
        self._higher: dict[tuple[str, int], tuple[int, float]] = {}
        """Servers that a minority names with a higher epoch: the epoch, and since when."""

    def choose(
        self, answers: Sequence[SentinelAnswer], known: SentinelAnswer | None, now: float
    ) -> Choice:
        """The primary, by the rules above. `now` is of a monotonic clock."""
        counts = self._counting(answers)
        self._note_higher(answers, counts, now)
        if counts is None:
            self._lower_since = None
            return Choice(known, is_confirmed=False, problem=self._no_majority(answers, known))
        chosen = self._settled(answers, counts, known, now)
        awaited = any(now - since < SETTLED_AFTER_S for _, since in self._higher.values())
        is_confirmed = chosen is not None and chosen.address == counts.address and not awaited
        return Choice(chosen, is_confirmed, _disagreement(answers, chosen))

    def agree(self, answers: Iterable[SentinelAnswer]) -> bool:
        """Whether more than half of all name the same server: the rest cannot outvote them."""
        votes = [answer.address for answer in answers]
        return any(votes.count(address) * 2 > self.total for address in votes)

    def _counting(self, answers: Sequence[SentinelAnswer]) -> SentinelAnswer | None:
        """The server that counts, with the epoch that enough of those that name it reached."""
        enough = max(self.needed, len(answers) // 2 + 1)
        for address in {answer.address for answer in answers}:
            epochs = sorted(answer.epoch for answer in answers if answer.address == address)
            if len(epochs) >= enough:
                return SentinelAnswer(address, epochs[-enough])
        return None

    def _settled(
        self,
        answers: Sequence[SentinelAnswer],
        counts: SentinelAnswer,
        known: SentinelAnswer | None,
        now: float,
    ) -> SentinelAnswer | None:
        """The server that counts, or the known one for as long as that stays."""
        if known is None or counts.epoch >= known.epoch:
            self._lower_since = None
            is_failover = known is None or counts.epoch > known.epoch
            return counts if is_failover or self.agree(answers) else known
        if self._lower_since is None:
            self._lower_since = now
        return counts if now - self._lower_since >= SETTLED_AFTER_S else known

    def _note_higher(
        self, answers: Sequence[SentinelAnswer], counts: SentinelAnswer | None, now: float
    ) -> None:
        """Note what a minority names; the time runs only while a majority contradicts it."""
        higher = dict[tuple[str, int], tuple[int, float]]()
        if counts is not None:
            heard = [(one.address, one.epoch, now) for one in answers]
            noted = [(address, *entry) for address, entry in self._higher.items()]
            for address, epoch, since in (*noted, *heard):
                most = higher.get(address, (counts.epoch, now))[0]
                if address != counts.address and epoch > most:
                    higher[address] = (epoch, since)
        self._higher = higher

    def _no_majority(self, answers: Sequence[SentinelAnswer], known: SentinelAnswer | None) -> str:
        if len(answers) < self.needed:
            verb = "answers" if len(answers) == 1 else "answer"
            return f"{len(answers)} of {self.total} Sentinels {verb}, {self.needed} needed"
        return _disagreement(answers, known)


def _disagreement(answers: Iterable[SentinelAnswer], chosen: SentinelAnswer | None) -> str:
    """Which Sentinel names what; empty if all name the chosen server, and no other."""
    if chosen is not None and all(answer.address == chosen.address for answer in answers):
        return ""
    rows = "; ".join(sorted(f"{answer.sentinel} names {answer}" for answer in answers))
    return f"the Sentinels disagree ({rows}; {chosen or 'none'} is used)"
