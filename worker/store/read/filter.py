"""Which jobs a list shows, counts or acts on."""

from dataclasses import dataclass

from jobs.batches import batch_of
from jobs.evidence.records import EvidenceFinding
from jobs.fairness import fair_key_of
from jobs.job import UNCERTAIN, Job
from jobs.states import Kind, State
from jobs.tenants import tenant_of


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs a list shows. Times in Unix seconds, over `created_at`."""

    state: State | None = None
    kind: Kind | None = None
    target: str | None = None
    code: str | None = None
    cause: str | None = None
    """Of uncertain jobs: why their outcome is unknown."""
    tag: str | None = None
    batch: str | None = None
    """As it is stored, see `jobs.batches.batch_address`."""
    fair_key: str | None = None
    """As it is stored, see `jobs.fairness.fair_key_of`."""
    after: str | None = None
    """A job that they were enqueued to wait for, by its stored id."""
    account: str | None = None
    finding: EvidenceFinding | None = None
    """Of jobs that are parked as uncertain."""
    tenant: str | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, job: Job) -> bool:
        """Whether a job passes the filter."""
        code = job.reason.code if job.reason else None
        cause = job.reason.cause if job.reason else None
        return (
            self.state in (None, job.state)
            and self.kind in (None, job.kind)
            and self.target in (None, job.target)
            and self.code in (None, code)
            and self.cause in (None, cause)
            and (self.tag is None or self.tag in job.tags)
            and self.batch in (None, batch_of(job))
            and (self.fair_key is None or self.fair_key == fair_key_of(job))
            and (self.after is None or self.after in job.after)
            and self.account in (None, job.account)
            and (
                self.finding is None or (job.parked_as == UNCERTAIN and job.finding is self.finding)
            )
            and (self.tenant is None or self.tenant == tenant_of(job.id))
            and (self.since is None or job.created_at >= self.since)
            and (self.until is None or job.created_at < self.until)
        )
