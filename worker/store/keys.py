"""Every Redis key of ours, one function a key. arq's own keys stand at the end."""

from dataclasses import dataclass

from arq.constants import job_key_prefix

from jobs.indexes import Index, IndexEntry
from jobs.lanes import Lane


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace; several deployments can share a Redis under different ones."""

    namespace: str

    def job(self, job_id: str) -> str:
        """Hash `rev, rec, inputs, result` of one job."""
        return f"{self.namespace}:job:{job_id}"

    def index(self, kind: Index, name: str = "") -> str:
        """Sorted set of job ids."""
        return f"{self.namespace}:{kind}:{name}" if name else f"{self.namespace}:{kind}"

    def entry(self, entry: IndexEntry) -> str:
        """Sorted set that an entry belongs to."""
        return self.index(entry.kind, entry.name)

    def lane(self, lane: Lane) -> str:
        """Sorted set of a lane's queued jobs, by place in line."""
        return self.index(Index.LANE, str(lane))

    def active(self, lane: Lane) -> str:
        """Sorted set of a lane's jobs that are submitting or running."""
        return self.index(Index.ACTIVE, str(lane))

    @property
    def lanes(self) -> str:
        """Sorted set of lane names, by when each had its last turn."""
        return f"{self.namespace}:lanes"

    @property
    def groups(self) -> str:
        """Sorted set of the names of groups of parked jobs and dead letters."""
        return f"{self.namespace}:groups"

    @property
    def polls(self) -> str:
        """Hash job id → what polls of its present run saw so far."""
        return f"{self.namespace}:polls"

    @property
    def batches(self) -> str:
        """Sorted set of the names of batches, by when the last job was put into each."""
        return f"{self.namespace}:batches"

    @property
    def holds(self) -> str:
        """Hash `scope|code` → hold."""
        return f"{self.namespace}:holds"

    @property
    def cool_downs(self) -> str:
        """Hash scope → cool-down."""
        return f"{self.namespace}:cool-downs"

    @property
    def sync_only(self) -> str:
        """Sorted set of lanes whose target has no async mode, by when that is forgotten."""
        return f"{self.namespace}:sync-only"

    @property
    def costs(self) -> str:
        """Hash `kind/target` → credits its last run cost."""
        return f"{self.namespace}:costs"

    def durations(self, target: str) -> str:
        """List of the newest runs of a `kind/target`: when each ended, and between which ages."""
        return f"{self.namespace}:durations:{target}"

    @property
    def rate_limits(self) -> str:
        """Hash `account/route` → the bucket of its rate limit."""
        return f"{self.namespace}:quota"

    @property
    def workers(self) -> str:
        """Hash worker id → heartbeat."""
        return f"{self.namespace}:workers"

    @property
    def audit(self) -> str:
        """Stream of the acts of people."""
        return f"{self.namespace}:audit"

    @property
    def events(self) -> str:
        """Stream of transitions: fields `t`, each a `Transition` as JSON; old ones are trimmed."""
        return f"{self.namespace}:events"

    @property
    def counters(self) -> str:
        """Hash `name|label…` → number, what metrics show."""
        return f"{self.namespace}:counters"

    def series(self, step_s: int, start: int) -> str:
        """Hash field → number, what happened in so many seconds from then; it expires."""
        return f"{self.namespace}:series:{step_s}:{start}"

    def session(self, digest: str) -> str:
        """String of one browser session, by the digest of its secret; it expires."""
        return f"{self.namespace}:session:{digest}"

    def delivery(self, execution_id: str) -> str:
        """Hash `e:<event>, jobs, orphan, ended` of what the provider delivered of one run."""
        return f"{self.namespace}:delivery:{execution_id}"

    @property
    def inbox(self) -> str:
        """Sorted set of execution ids with deliveries to work on, by when they are due."""
        return f"{self.namespace}:inbox"

    @property
    def orphans(self) -> str:
        """Sorted set of execution ids that were told of and belong to no job, by when."""
        return f"{self.namespace}:orphans"

    @property
    def delivered(self) -> str:
        """Channel: there is a delivery to work on."""
        return f"{self.namespace}:delivered"

    @property
    def wake(self) -> str:
        """Channel: there is something to admit."""
        return f"{self.namespace}:wake"

    @property
    def settled(self) -> str:
        """Channel: ids of jobs that settled or parked."""
        return f"{self.namespace}:settled"

    @property
    def arq_queue(self) -> str:
        """The queue of arq,  wake-ups, a sorted set of arq ids."""
        return f"{self.namespace}:queue"

    @staticmethod
    def arq_job(arq_id: str) -> str:
        """The payload arq has of one entry."""
        return job_key_prefix + arq_id
