"""`doctor`: is everything as it should be, and is every job where somebody watches it."""

import asyncio
import getpass
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from worker.cli.client_session import read_settings
from worker.cli.exit_codes import CommandExit, ExitCode, InvalidSettings
from worker.cli.options import note
from worker.cli.text import sanitize

if TYPE_CHECKING:
    from config.settings import Settings
    from worker.doctor.findings import Finding
    from worker.doctor.integrity_check import IntegrityReport, ReportedDamage
    from worker.store import Store

LEVEL_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}
OUTCOME_COLOURS: Final = {"repaired": "green", "moved": "blue", "left": "red"}
INDENT: Final = " " * 7


@click.command(short_help="Check Redis, keys, workers, and where every job is.")
@click.option("--repair", is_flag=True, help="Put back what has one right place.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--no-provider", is_flag=True, help="Do not ask the provider about the keys.")
@note
def doctor(*, repair: bool, as_json: bool, no_provider: bool, note: str) -> None:
    """Check Redis, clocks, API keys and workers, and take a census of every job.

    It may run while workers run, and changes nothing without --repair: then entries are put where
    the job's record says, each on record. No job changes its state, and nothing is submitted. Exit
    code 1 where something failed, or the census is not clean.
    """
    settings = read_settings()

    from worker.redis.connect import NoRedisError  # noqa: PLC0415  not for --help

    visit = _DoctorRun(
        settings, repair=repair, note=note, quiet=as_json, check_provider=not no_provider
    )
    try:
        asyncio.run(visit.run())
    except NoRedisError as error:
        raise InvalidSettings(str(error)) from None
    visit.finish()


class _DoctorRun:
    """One run of all checks; what is found is shown as it comes, unless `quiet`."""

    def __init__(
        self, settings: "Settings", *, repair: bool, note: str, quiet: bool, check_provider: bool
    ) -> None:
        self._settings = settings
        self._repair = repair
        self._note = note
        self._quiet = quiet
        self._check_provider = check_provider
        self._findings: list[Finding] = []
        self._report: IntegrityReport | None = None

    async def run(self) -> None:
        """Look at everything."""
        from redis.exceptions import RedisError, ResponseError  # noqa: PLC0415  not for --help

        from worker.clock import SystemClock  # noqa: PLC0415  not for --help
        from worker.doctor import probes  # noqa: PLC0415  not for --help
        from worker.redis.connect import connect  # noqa: PLC0415  not for --help
        from worker.store import open_store  # noqa: PLC0415  not for --help

        clock = SystemClock()
        redis = connect(self._settings)
        store = open_store(redis, self._settings.namespace)
        try:
            checks = probes.check_all(store, self._settings, clock, provider=self._check_provider)
            async for findings in checks:
                self._show(findings)
            if not any(probes.is_redis_unusable(finding) for finding in self._findings):
                await self._check_integrity(store)
        except ResponseError as error:
            self._show([probes.refused_finding(error)])
        except (RedisError, OSError) as error:
            self._show([probes.unreachable_finding(error)])
        finally:
            await redis.aclose(close_connection_pool=True)

    async def _check_integrity(self, store: "Store") -> None:
        from worker.clock import SystemClock  # noqa: PLC0415  not for --help
        from worker.doctor.integrity_check import IntegrityCheck  # noqa: PLC0415  not for --help
        from worker.doctor.repair import Repairer  # noqa: PLC0415  not for --help
        from worker.doctor.report import judge_integrity  # noqa: PLC0415  not for --help

        clock, settings = SystemClock(), self._settings
        by = _actor_name(settings)
        ours = not any(f.name == "redis.keys" and f.fix for f in self._findings)
        repair = self._repair and ours  # what somebody else wrote to is not put in order
        mender = Repairer(store, clock, by=by, note=self._note) if repair else None
        census = IntegrityCheck(
            store,
            clock,
            lease_s=settings.lease_s,
            max_poll_interval_s=settings.poll_max_s,
            repairer=mender,
        )
        self._report = await census.run()
        self._show([judge_integrity(self._report)])
        if not self._quiet:
            _print_damages(self._report.reported, self._report.counts_by_kind.total())

    def _show(self, findings: "Sequence[Finding]") -> None:
        before = self._findings[-1].group if self._findings else ""
        self._findings += findings
        if self._quiet:
            return
        for finding in findings:
            if finding.group != before:
                click.secho(finding.group.capitalize(), bold=True)
                before = finding.group
            level = click.style(f"{finding.level:5}", fg=LEVEL_COLOURS[finding.level])
            click.echo(f"  {level}{sanitize(finding.text)}")
            if finding.fix:
                click.echo(f"{INDENT}→ {sanitize(finding.fix)}")

    def finish(self) -> None:
        """Say the verdict; the exit code is the worst."""
        from worker.doctor.probes import REDIS_REACHABLE  # noqa: PLC0415  not for --help
        from worker.doctor.report import document, summary_line  # noqa: PLC0415  not for --help

        if self._quiet:
            click.echo(json.dumps(document(self._findings, self._report)))
        else:
            click.echo(f"\n{summary_line(self._findings)}")
        failed = {finding.name for finding in self._findings if finding.level == "fail"}
        if REDIS_REACHABLE in failed:
            raise CommandExit(ExitCode.NO_REDIS)
        if failed:
            raise CommandExit(ExitCode.FAILED)


def _print_damages(reported: "Sequence[ReportedDamage]", total: int) -> None:
    """Every damage, what became of it and what it needs."""
    from worker.doctor.repair import printable  # noqa: PLC0415  not for --help

    for damage, outcome in reported:
        word = click.style(f"{outcome:8}", fg=OUTCOME_COLOURS[outcome])
        job = f"job {damage.job_id} " if damage.job_id else ""
        click.echo(f"{INDENT}{word} {damage.kind}: {sanitize(printable(job + damage.text))}")
        if outcome == "left" and damage.repair is None:
            click.echo(f"{INDENT}        → {sanitize(printable(damage.fix))}")
    if total > len(reported):
        click.echo(f"{INDENT}… and {total - len(reported)} more")


def _actor_name(settings: "Settings") -> str:
    """Who acts: the name of the token in use, else the user of this machine."""
    if settings.api_token is not None:
        secret = settings.api_token.get_secret_value()
        for token in settings.api_tokens:
            if token.secret.get_secret_value() == secret:
                return token.name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have a number and no name
        return f"uid {os.getuid()}"
