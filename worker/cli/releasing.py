"""Which holds and which groups a bulk release frees: decided here, done in `parked`.

A hold's jobs are freed through the hold, which lets one canary through first; only groups that no
hold stands for are released by themselves. A hold that reaches wider than what was asked for is
left alone, and so are its jobs: freeing one model must not open a whole account.
"""

from dataclasses import dataclass
from typing import Any

from worker.cli.next_steps import (
    MANUAL,
    SCOPE_PARTS,
    UNCERTAIN,
    group_command,
    hold_of,
    release_hold_command,
    split_scope,
)
from worker.cli.text import lane_of, sanitize

Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a bulk release does, and what it leaves alone."""

    holds: tuple[tuple[Doc, int], ...] = ()
    """Holds to release, with the number of jobs each parked."""
    groups: tuple[Doc, ...] = ()
    """Groups without a hold."""
    left: tuple[str, ...] = ()
    """Lines about jobs that match and stay parked, with what frees them."""

    @property
    def jobs(self) -> int:
        """How many jobs go back in line."""
        return sum(n for _, n in self.holds) + sum(int(group["count"]) for group in self.groups)

    def lines(self) -> list[str]:
        """The plan in words."""
        found = [
            f"hold {hold['id']} on {hold['scope']} ({hold['code']}): {_jobs(n)}, one canary first"
            for hold, n in self.holds
        ]
        found += [f"{lane_of(g)} ({g['code']}): {_jobs(int(g['count']))}" for g in self.groups]
        return [sanitize(line) for line in found]


def plan_release(holds: list[Doc], groups: list[Doc], wanted: Doc) -> Plan:
    """Decide over every hold and every group of parked jobs; `wanted` holds the filters given."""
    chosen = [hold for hold in holds if hold["code"] != MANUAL and _is_wanted(_facts(hold), wanted)]
    free: list[Doc] = []
    left: list[str] = []
    parked = dict.fromkeys((str(hold["id"]) for hold in chosen), 0)
    for group in groups:
        if not _is_wanted(group, wanted):
            continue
        hold = hold_of(group, holds)
        if group["code"] == UNCERTAIN:
            left.append(
                _stays(group, "outcome unknown; resolve each", group_command(group, "parked"))
            )
        elif hold is None or hold["code"] == MANUAL:
            free.append(group)
        elif hold in chosen:
            parked[str(hold["id"])] += int(group["count"])
        else:
            left.append(
                _stays(
                    group, f"their hold is on all of {hold['scope']}", release_hold_command(hold)
                )
            )
    return Plan(tuple((h, parked[str(h["id"])]) for h in chosen), tuple(free), tuple(left))


def filter_of(group: Doc) -> Doc:
    """The filter that admits a group's jobs and no others."""
    return {"state": "parked", "code": group["code"], **{part: group[part] for part in SCOPE_PARTS}}


def _facts(hold: Doc) -> Doc:
    return {"code": hold["code"], **split_scope(str(hold["scope"]))}


def _is_wanted(facts: Doc, wanted: Doc) -> bool:
    return all(facts.get(name) == value for name, value in wanted.items())


def _stays(group: Doc, why: str, remedy: str) -> str:
    return sanitize(f"{lane_of(group)}: {_jobs(int(group['count']))} stay parked ({why}): {remedy}")


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
