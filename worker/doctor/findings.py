"""The results of checks."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, with a risk."""
    FAIL = "fail"
    """Jobs do not move, or could be lost or paid twice."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: what is the case and, unless it is ok, what to do.

    `name` is `group.check`: `redis.persistence`, `provider.default`.
    """

    name: str
    level: Level
    text: str
    fix: str = ""

    @property
    def group(self) -> str:
        """The group of the check: redis, clock, provider, workers, gates, settings, integrity."""
        return self.name.partition(".")[0]


def ok(name: str, text: str) -> Finding:
    """A finding that needs no action."""
    return Finding(name, Level.OK, text)


def warn(name: str, text: str, fix: str) -> Finding:
    """A finding about a risk."""
    return Finding(name, Level.WARN, text, fix)


def fail(name: str, text: str, fix: str) -> Finding:
    """A finding that must be fixed."""
    return Finding(name, Level.FAIL, text, fix)


def worst_level(findings: Iterable[Finding]) -> Level:
    """The worst level of all findings; ok for none."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)
