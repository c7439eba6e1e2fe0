"""`doctor`: checks of Redis, keys and workers, and the integrity check of the jobs' indexes."""

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
    from worker.clock import RedisClock
    from worker.doctor.findings import Finding
    from worker.doctor.integrity_check import IntegrityReport, ReportedDamage
    from worker.store import Store

LEVEL_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}
OUTCOME_COLOURS: Final = {"repaired": "green", "moved": "blue", "left": "red"}
INDENT: Final = " " * 7


@click.command(short_help="Check Redis, keys, workers and the indexes of every job.")
@click.option("--repair", is_flag=True, help="Write the index entries that the records call for.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--no-provider", is_flag=True, help="Do not check the keys at the provider.")
@note
def doctor(*, repair: bool, as_json: bool, no_provider: bool, note: str) -> None:
    """Check Redis, clocks, API keys and workers, and the indexes of every job.

    Workers may go on meanwhile. Without --repair nothing changes. With it, index entries are
    written as the job's record says, each with an audit entry; no job changes its state, and
    nothing is submitted. The exit code is 1 where a check failed or an index is not right.
    """
    settings = read_settings()

    from worker.redis.connect import NoRedisError  # noqa: PLC0415  not for --help

    doctor_run = _DoctorRun(
        settings, repair=repair, note=note, quiet=as_json, check_provider=not no_provider
    )
    try:
        asyncio.run(doctor_run.run())
    except NoRedisError as error:
        raise InvalidSettings(str(error)) from None
    doctor_run.finish()


class _DoctorRun:
    """One run of all checks; findings are printed as they come, unless `quiet`."""

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
        """Run the checks, then the integrity check where Redis can be used."""
        from redis.exceptions import RedisError, ResponseError  # noqa: PLC0415  not for --help

        from config.settings import SettingsError  # noqa: PLC0415  not for --help
        from worker.clock import RedisClock  # noqa: PLC0415  not for --help
        from worker.compose.app import payload_cipher  # noqa: PLC0415  not for --help
        from worker.compose.provider import build_provider  # noqa: PLC0415  not for --help
        from worker.doctor import probes  # noqa: PLC0415  not for --help
        from worker.redis.connect import connect  # noqa: PLC0415  not for --help
        from worker.store import open_store  # noqa: PLC0415  not for --help

        clock = RedisClock()
        redis = connect(self._settings)
        cipher = payload_cipher(self._settings)  # it signs the audit entries of repairs, too
        store = open_store(redis, self._settings.namespace, cipher=cipher)
        try:
            try:
                provider = build_provider(self._settings) if self._check_provider else None
            except SettingsError as error:
                provider = None
                self._show([probes.unusable_path_finding(error)])
            async for findings in probes.check_all(store, self._settings, clock, provider):
                self._show(findings)
            if not any(probes.is_redis_unusable(finding) for finding in self._findings):
                await self._check_integrity(store, clock)
        except ResponseError as error:
            self._show([probes.refused_finding(error)])
        except (RedisError, OSError) as error:
            url = self._settings.plain_redis_url
            self._show([await probes.unreachable_finding(error, url)])
        finally:
            await redis.aclose(close_connection_pool=True)

    async def _check_integrity(self, store: "Store", clock: "RedisClock") -> None:
        from worker.doctor.integrity_check import IntegrityCheck  # noqa: PLC0415  not for --help
        from worker.doctor.repair import Repairer  # noqa: PLC0415  not for --help
        from worker.doctor.report import judge_integrity  # noqa: PLC0415  not for --help

        settings = self._settings
        by = _actor_name(settings)
        is_ours = not any(f.name == "redis.keys" and f.fix for f in self._findings)
        may_repair = self._repair and is_ours  # no repair of keys that another program writes
        repairer = Repairer(store, clock, by=by, note=self._note) if may_repair else None
        check = IntegrityCheck(
            store,
            clock,
            lease_s=settings.lease_s,
            max_poll_interval_s=settings.poll_max_s,
            repairer=repairer,
        )
        self._report = await check.run()
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
        """Print the summary; a failed check ends the command with its exit code."""
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
    """Print each damage, the outcome of its repair, and what is left to do."""
    from worker.doctor.repair import printable  # noqa: PLC0415  not for --help

    for damage, outcome in reported:
        word = click.style(f"{outcome:8}", fg=OUTCOME_COLOURS[outcome])
        job = f"job {damage.job_id} " if damage.job_id else ""
        click.echo(f"{INDENT}{word} {damage.kind}: {sanitize(printable(job + damage.text))}")
        if outcome == "left" and damage.repair is None:
            click.echo(f"{INDENT}         → {sanitize(printable(damage.fix))}")
    if total > len(reported):
        click.echo(f"{INDENT}… and {total - len(reported)} more")


def _actor_name(settings: "Settings") -> str:
    """The name of the token in use, else the user of this machine."""
    if settings.api_token is not None:
        from config.values import secret_digest  # noqa: PLC0415  not for --help

        digest = secret_digest(settings.api_token.get_secret_value())
        for token in settings.api_tokens:
            if token.sha256 == digest:
                return token.name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, a user may have no name
        return f"uid {os.getuid()}"
