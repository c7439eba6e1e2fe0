"""Every Redis and Valkey server × every event: python -m tests.redis_matrix [--quick] [PROGRAM …].

Prints a line for each cell. With `--write` it adds them to those in .bench/redis-matrix.json, and
writes docs/redis-servers.md of all of them.
"""

import argparse
import asyncio
import os
import subprocess
import tempfile
from pathlib import Path

from config.settings import PREFIX, Settings
from tests.redis_matrix.cell_findings import CellFindings, merge
from tests.redis_matrix.matrix_cell import run_cell
from tests.redis_matrix.matrix_page import render_page, render_row
from tests.redis_matrix.redis_events import EVENTS, MatrixEvent
from tests.redis_matrix.server_programs import ServerProgram, find_programs

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "redis-servers.md"
KEPT = ROOT / ".bench" / "redis-matrix.json"
CELL_WITHIN_S = 180.0


def main() -> int:
    """Run the cells; returns 0 if each is as aimed."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("programs", nargs="*", help="server programs (default: those that are found)")
    add("--quick", action="store_true", help="the events that most went wrong with, on one server")
    add("--event", action="append", help="only events whose name contains this; may be repeated")
    add("--at-once", type=int, default=2, help="cells at once; 4 for two servers side by side")
    add("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    add("--logs", type=Path, help="keep the logs of every process in this folder")
    given = parser.parse_args()
    programs, skipped = find_programs(given.programs)
    events = [
        event for event in EVENTS if any(words in event.name for words in given.event or [""])
    ]
    for event in [event for event in events if _unknown_settings(event)]:
        skipped.append(f"{event.name}: there is no setting {_unknown_settings(event)[0]}")
        events.remove(event)
    if given.quick:
        programs, events = programs[:1], [event for event in events if event.is_quick]
    for line in skipped:
        print("skipped:", line)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_run(programs, events, given.logs or Path(folder), given.at_once))
    if given.write:
        PAGE.write_text(render_page(merge(KEPT, found), skipped), encoding="utf-8")
    for cell in found:
        if cell.missed:
            name = ", ".join(part for part in cell.key if part)
            print(f"missed: {name}: {'; '.join(cell.missed)}")  # noqa: T201
    good = sum(not one.missed for one in found)
    print(f"{good} of {len(found)} cells as aimed")  # noqa: T201
    return 0 if good == len(found) else 1


async def _run(
    programs: list[ServerProgram], events: list[MatrixEvent], folder: Path, at_once: int
) -> list[CellFindings]:
    commit = _commit()
    turns = asyncio.Semaphore(at_once)

    async def run(program: ServerProgram, event: MatrixEvent, number: int) -> CellFindings:
        own = folder / f"{program.name} {number}".replace(" ", "-")
        own.mkdir(parents=True)
        found = CellFindings(program.name, event.name, event.needs, commit)
        async with turns:
            try:
                async with asyncio.timeout(CELL_WITHIN_S):
                    await run_cell(program, event, own, found)
            except Exception as error:  # noqa: BLE001  the other cells go on
                found.trouble = repr(error)[:200]
            found.load = round(os.getloadavg()[0], 1)
            print(render_row(found), flush=True)  # noqa: T201
            print("    took", ", ".join(f"{n} {s:.1f} s" for n, s in found.took.items()))  # noqa: T201
            for words, count in found.refusals.items():
                print(f"    {count} × {words}", flush=True)  # noqa: T201
        return found

    return await asyncio.gather(
        *(
            run(program, event, number)
            for program in programs
            for number, event in enumerate(events, 1)
        )
    )


def _unknown_settings(event: MatrixEvent) -> list[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return [name for name, _ in event.settings if name not in known]


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    reply = subprocess.run(command, capture_output=True, text=True, check=False)
    return reply.stdout.strip() or "unknown"


if __name__ == "__main__":
    raise SystemExit(main())
