"""What the page of schedules shows: links, ticks in local time, and the values of its form."""

from datetime import UTC, datetime, tzinfo
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs.schedules.record import CatchUp, Overlap, Schedule, Skip, SkipCause
from worker.app.schedules import ScheduleDetails
from worker.dashboard.views.payloads import MAX_EDITED_BYTES, pretty_json
from worker.store.codec import decode, encode

FIELDS: Final = ("name", "cron", "time_zone", "job", "overlap", "catch_up", "enabled")

NEW: Final = {
    **dict.fromkeys(FIELDS, ""),
    "time_zone": "UTC",
    "overlap": Overlap.SKIP.value,
    "catch_up": CatchUp.LAST.value,
    "enabled": "yes",
}
"""The form of a schedule that is not there yet."""

CAUSE_TEXTS: Final = {
    SkipCause.OVERLAP: "an earlier run was not finished",
    SkipCause.MISSED: "no worker was there in time",
    SkipCause.REFUSED: "its job was refused",
    SkipCause.ID_TAKEN: "a job with its ID exists",
}


def schedule_href(name: str) -> str:
    """The page with all that is known of a schedule."""
    return f"/schedules?{urlencode({'name': name})}"


def schedule_fields(details: ScheduleDetails) -> dict[str, str]:
    """The values of the form that changes a schedule; its job is empty where it is very long."""
    schedule, inputs = details.shown.schedule, details.inputs
    job = encode({**schedule.job, "inputs": decode(inputs)}) if inputs else b""
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone or NEW["time_zone"],
        "job": pretty_json(job) if 0 < len(job) <= MAX_EDITED_BYTES else "",
        "overlap": schedule.overlap.value,
        "catch_up": schedule.catch_up.value,
        "enabled": "yes" if schedule.enabled or schedule.error else "no",
    }


def local_tick(tick: float, schedule: Schedule) -> str:
    """A tick in the time zone of its schedule, as `Sun 2026-03-29 03:00 CEST`."""
    zone: tzinfo
    try:
        zone = ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = UTC
    return datetime.fromtimestamp(tick, zone).strftime("%a %Y-%m-%d %H:%M %Z")


def skip_text(skip: Skip) -> str:
    """Why ticks made no job; the job that is in the way is a link beside it."""
    text = CAUSE_TEXTS[skip.cause]
    return f"{text}: {skip.message}" if skip.cause is SkipCause.REFUSED else text


def blocking_job(skip: Skip) -> str:
    """The job that was in the way of a tick; empty for none."""
    return skip.message if skip.cause in (SkipCause.OVERLAP, SkipCause.ID_TAKEN) else ""
