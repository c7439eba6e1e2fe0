"""The doctor's report: one document, and a summary line."""

from collections.abc import Sequence
from typing import Any

from jobs.texts import pluralize
from worker.doctor.findings import Finding, Level, fail, ok, worst_level
from worker.doctor.integrity_check import IntegrityReport
from worker.doctor.integrity_findings import REPAIR_COMMAND
from worker.doctor.repair import RepairOutcome, printable

INTEGRITY = "integrity.indexes"


def judge_integrity(report: IntegrityReport) -> Finding:
    """The integrity check as one finding."""
    counts = f"{pluralize(report.jobs, 'job')}, {report.unfinished:,} unfinished; "
    counts += f"{report.entries_compared:,} entries compared in {report.duration_s:.1f} s"
    left = report.outcomes[RepairOutcome.LEFT]
    if left:
        kinds = ", ".join(f"{count} {kind}" for kind, count in report.counts_by_kind.most_common())
        fix = (
            f"see each of them, then {REPAIR_COMMAND}"
            if report.repairable
            else "see what each needs"
        )
        return fail(
            INTEGRITY,
            f"{left} of {report.counts_by_kind.total()} not right ({kinds}): {counts}",
            fix,
        )
    if repaired := report.outcomes[RepairOutcome.REPAIRED]:
        return ok(INTEGRITY, f"{repaired} repaired, each with an audit entry; {counts}")
    return ok(INTEGRITY, f"every unfinished job is in exactly one watched index: {counts}")


def summary_line(findings: Sequence[Finding]) -> str:
    """The last line of the output."""
    failed = sum(finding.level is Level.FAIL for finding in findings)
    warned = sum(finding.level is Level.WARN for finding in findings)
    also = f", {pluralize(warned, 'warning')}" if warned else ""
    if failed:
        return f"not well: {pluralize(failed, 'check')} failed{also}"
    return f"all is well{also}"


def document(findings: Sequence[Finding], report: IntegrityReport | None) -> dict[str, Any]:
    """The report as JSON; `integrity` is null where it was not checked."""
    return {
        "summary": worst_level(findings).value,
        "findings": [
            {
                "group": finding.group,
                "name": finding.name,
                "level": finding.level.value,
                "text": printable(finding.text),
                "fix": finding.fix or None,
            }
            for finding in findings
        ],
        "integrity": None if report is None else _integrity_document(report),
    }


def _integrity_document(report: IntegrityReport) -> dict[str, Any]:
    return {
        "clean": report.is_clean,
        "jobs": report.jobs,
        "unfinished": report.unfinished,
        "states": {state.value: count for state, count in sorted(report.states.items())},
        "entries": report.entries_compared,
        "seconds": round(report.duration_s, 3),
        "found": {kind.value: count for kind, count in report.counts_by_kind.items()},
        "outcomes": {outcome.value: report.outcomes[outcome] for outcome in RepairOutcome},
        "damages": [
            {
                "kind": damage.kind.value,
                "key": printable(damage.key) or None,
                "job_id": printable(damage.job_id) or None,
                "text": printable(damage.text),
                "fix": printable(damage.fix) if outcome is RepairOutcome.LEFT else None,
                "outcome": outcome.value,
            }
            for damage, outcome in report.reported
        ],
    }
