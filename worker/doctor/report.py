"""What the doctor tells: one document, and a verdict."""

from collections.abc import Sequence
from typing import Any

from worker.doctor.findings import Finding, Level, fail, ok, worst
from worker.doctor.integrity_check import Report
from worker.doctor.integrity_findings import REPAIR
from worker.doctor.repair import Outcome, shown

PLACES = "census.places"


def judge_census(report: Report) -> Finding:
    """The census as one finding."""
    seen = f"{_count(report.jobs, 'job')}, {report.unfinished:,} unfinished; "
    seen += f"{report.entries:,} entries compared in {report.seconds:.1f} s"
    left = report.outcomes[Outcome.LEFT]
    if left:
        kinds = ", ".join(f"{count} {kind}" for kind, count in report.found.most_common())
        fix = f"see each of them, then {REPAIR}" if report.mendable else "see what each needs"
        return fail(PLACES, f"{left} of {report.found.total()} not right ({kinds}): {seen}", fix)
    if mended := report.outcomes[Outcome.MENDED]:
        return ok(PLACES, f"{mended} put right, all on record; {seen}")
    return ok(PLACES, f"every unfinished job is in its one watched place: {seen}")


def verdict(findings: Sequence[Finding]) -> str:
    """The last line."""
    failed = sum(finding.level is Level.FAIL for finding in findings)
    warned = sum(finding.level is Level.WARN for finding in findings)
    also = f", {_count(warned, 'warning')}" if warned else ""
    if failed:
        return f"not well: {_count(failed, 'check')} failed{also}"
    return f"all is well{also}"


def document(findings: Sequence[Finding], report: Report | None) -> dict[str, Any]:
    """Everything, as JSON has it; the census is null where it was not taken."""
    return {
        "verdict": worst(findings).value,
        "findings": [
            {
                "group": finding.group,
                "name": finding.name,
                "level": finding.level.value,
                "text": shown(finding.text),
                "fix": finding.fix or None,
            }
            for finding in findings
        ],
        "census": None if report is None else _census(report),
    }


def _census(report: Report) -> dict[str, Any]:
    return {
        "clean": report.clean,
        "jobs": report.jobs,
        "unfinished": report.unfinished,
        "states": {state.value: count for state, count in sorted(report.states.items())},
        "entries": report.entries,
        "seconds": round(report.seconds, 3),
        "found": {kind.value: count for kind, count in report.found.items()},
        "outcomes": {outcome.value: report.outcomes[outcome] for outcome in Outcome},
        "damages": [
            {
                "kind": damage.kind.value,
                "key": shown(damage.key) or None,
                "job_id": shown(damage.job_id) or None,
                "text": shown(damage.text),
                "fix": shown(damage.fix) if outcome is Outcome.LEFT else None,
                "outcome": outcome.value,
            }
            for damage, outcome in report.told
        ],
    }


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
