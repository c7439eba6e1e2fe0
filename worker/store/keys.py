"""The Redis keys of a namespace, one function a key; arq's own keys are at the end."""

from dataclasses import dataclass

from arq.constants import job_key_prefix, result_key_prefix

from jobs.indexes import Index, IndexEntry
from jobs.lanes import Lane


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace; several deployments can share a Redis under different ones."""

    namespace: str
    db: int = 0
    """The number of the database: channels are those of the whole server."""

    def job(self, job_id: str) -> str:
        """Hash `rev, rec, inputs, result, unreadable, erased, children` of one job."""
        return f"{self.namespace}:job:{job_id}"

    def index(self, kind: Index, name: str = "") -> str:
        """Sorted set of job ids."""
        return f"{self.namespace}:{kind}:{name}" if name else f"{self.namespace}:{kind}"

    def entry(self, entry: IndexEntry) -> str:
        """Sorted set that an entry belongs to."""
        return self.index(entry.kind, entry.name)

    def lane(self, lane: Lane) -> str:
        """Sorted set of a lane's queued jobs, by priority and time."""
        return self.index(Index.LANE, str(lane))

    def active(self, lane: Lane) -> str:
        """Sorted set of a lane's jobs that are submitting or running."""
        return self.index(Index.ACTIVE, str(lane))

    def key_turns(self, lane: str) -> str:
        """Sorted set of the fair keys with jobs in a lane, by their last turn, see `fairness`."""
        return f"{self.namespace}:key-turns:{lane}"

    @property
    def lanes(self) -> str:
        """Sorted set of lane names, by when each was last served."""
        return f"{self.namespace}:lanes"

    @property
    def groups(self) -> str:
        """Sorted set of the names of groups of parked jobs and dead letters."""
        return f"{self.namespace}:groups"

    @property
    def registers(self) -> dict[Index, str]:
        """Sorted sets of the names of the indexes that a service finds its jobs by."""
        return {
            Index.LANE: self.lanes,
            Index.GROUP: self.groups,
            Index.BUDGET: self.budget_waits,
        }

    def register(self, kind: Index) -> str | None:
        """Sorted set of the names of an index that a service finds its jobs by; None without."""
        return self.registers.get(kind)

    @property
    def polls(self) -> str:
        """Hash job id → poll history of its present attempt."""
        return f"{self.namespace}:polls"

    @property
    def batches(self) -> str:
        """Sorted set of the stored names of batches, by when each got its last job."""
        return f"{self.namespace}:batches"

    def batch_record(self, batch: str) -> str:
        """Hash of what is known of a batch beside its jobs, see `worker.store.batches`."""
        return f"{self.namespace}:batch-record:{batch}"

    @property
    def batch_lease(self) -> str:
        """String, the worker that announces what became of batches; it expires."""
        return f"{self.namespace}:batch-lease"

    @property
    def batch_changes(self) -> str:
        """Sorted set of the batches of which a job settled or was parked, by when."""
        return f"{self.namespace}:batch-changes"

    @property
    def settled_parents(self) -> str:
        """Sorted set of the jobs that settled and that others may wait for, by when."""
        return f"{self.namespace}:settled-parents"

    @property
    def dependency_lease(self) -> str:
        """String, the worker that moves on jobs that wait for others; it expires."""
        return f"{self.namespace}:dependency-lease"

    @property
    def holds(self) -> str:
        """Hash `scope|code` → hold."""
        return f"{self.namespace}:holds"

    @property
    def cool_downs(self) -> str:
        """Hash scope → cool-down."""
        return f"{self.namespace}:cool-downs"

    @property
    def breakers(self) -> str:
        """Hash `scope|cause` → epoch and record of a breaker."""
        return f"{self.namespace}:breakers"

    @property
    def sync_only(self) -> str:
        """Sorted set of lanes whose target has no async mode, by when that expires."""
        return f"{self.namespace}:sync-only"

    @property
    def reconcile_off(self) -> str:
        """Hash account → why `reconcile` is switched off for it."""
        return f"{self.namespace}:reconcile-off"

    def usage_lease(self, purpose: Index, user_id: str) -> str:
        """String, the worker that reads the list of a user for jobs of an index; it expires."""
        return f"{self.namespace}:{purpose}-lease:{user_id}"

    @property
    def costs(self) -> str:
        """Hash `kind/target` → credits its runs cost lately."""
        return f"{self.namespace}:costs"

    @property
    def balances(self) -> str:
        """Hash account → the balance that a person entered."""
        return f"{self.namespace}:balances"

    @property
    def lane_caps(self) -> str:
        """Hash scope → concurrency cap that an operator set."""
        return f"{self.namespace}:lane-caps"

    @property
    def budgets(self) -> str:
        """Hash name → generation and record of a budget; the empty name → the version of all."""
        return f"{self.namespace}:budgets"

    def budget_use(self, name: str, generation: int, period: str) -> str:
        """Hash of what one period of a budget has spent and reserved; it expires, a total not."""
        return f"{self.namespace}:budget-use:{name}:{generation}:{period}"

    @property
    def budget_waits(self) -> str:
        """Sorted set of the names of budgets that queued jobs wait for."""
        return f"{self.namespace}:budget-waits"

    @property
    def schedules(self) -> str:
        """Hash name → revision and record of a schedule; the empty name → the version of all."""
        return f"{self.namespace}:schedules"

    @property
    def schedule_inputs(self) -> str:
        """Hash name → the inputs of a schedule's jobs."""
        return f"{self.namespace}:schedule-inputs"

    @property
    def schedule_ticks(self) -> str:
        """Hash name → the highest tick of a schedule, Unix seconds; kept after its removal."""
        return f"{self.namespace}:schedule-ticks"

    @property
    def schedule_skips(self) -> str:
        """Hash name → the last ticks of a schedule that made no job."""
        return f"{self.namespace}:schedule-skips"

    @property
    def warnings(self) -> str:
        """Hash `budget:<name>` or `balance:<account>` → what was said of it."""
        return f"{self.namespace}:warnings"

    @property
    def balance_lease(self) -> str:
        """String, the worker that compares balances with what is ahead; it expires."""
        return f"{self.namespace}:balance-lease"

    @property
    def budget_spending(self) -> str:
        """Hash name of a budget → what it had spent at some times of the last hour; it expires."""
        return f"{self.namespace}:budget-spending"

    @property
    def budget_lease(self) -> str:
        """String, the worker that keeps the budgets; it expires."""
        return f"{self.namespace}:budget-lease"

    def ledger(self, day: str, dimension: str, measure: str) -> str:
        """Hash name → what the ledger adds up for it on one day (UTC); it expires."""
        return f"{self.namespace}:ledger:{day}:{dimension}:{measure}"

    def costs_of(self, target: str) -> str:
        """List of what the newest runs of a `kind/target` cost, in credits; it expires."""
        return f"{self.namespace}:costs:{target}"

    def workflows(self, account: str) -> str:
        """Hash of an account's workflows: slug → workflow, `""` → state of the list; expires."""
        return f"{self.namespace}:workflows:{account}"

    def workflow_schemas(self, account: str) -> str:
        """Hash slug → what a workflow takes, `@slug` → when that was read; it expires."""
        return f"{self.namespace}:workflow-schemas:{account}"

    def workflows_lease(self, account: str) -> str:
        """String, the worker that reads the workflows of an account; it expires."""
        return f"{self.namespace}:workflows-lease:{account}"

    @property
    def used_workflows(self) -> str:
        """Sorted set of `account/slug` that jobs are enqueued for, by when; it expires."""
        return f"{self.namespace}:used-workflows"

    def durations(self, target: str) -> str:
        """List of the newest duration samples of a `kind/target`; it expires."""
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
    def accounts(self) -> str:
        """Hash label of an account that workers have an API key for → when one reported it."""
        return f"{self.namespace}:accounts"

    @property
    def payload_keys(self) -> str:
        """Hash id of a key of `KNOUDS_PAYLOAD_KEYS` that payloads are encrypted under → 1."""
        return f"{self.namespace}:payload-keys"

    @property
    def drains(self) -> str:
        """Hash id of a worker that an operator drains → since when."""
        return f"{self.namespace}:drains"

    @property
    def audit(self) -> str:
        """Stream of operator actions."""
        return f"{self.namespace}:audit"

    @property
    def events(self) -> str:
        """Stream of transitions: fields `t`, each a `TransitionEvent` as JSON; it is trimmed."""
        return f"{self.namespace}:events"

    @property
    def recovery(self) -> str:
        """Hash of the recovery state, and worker → epoch that it has done its part of."""
        return f"{self.namespace}:recovery"

    @property
    def counters(self) -> str:
        """Hash `name|label…` → number, for metrics."""
        return f"{self.namespace}:counters"

    def flush(self, process: str) -> str:
        """String, the id of the last flush of counters of a process; it expires."""
        return f"{self.namespace}:flush:{process}"

    def series(self, step_s: int, start: int) -> str:
        """Hash field → number: what was counted in `step_s` seconds from `start`; it expires."""
        return f"{self.namespace}:series:{step_s}:{start}"

    def session(self, digest: str) -> str:
        """String of one browser session, by the digest of its secret; it expires."""
        return f"{self.namespace}:session:{digest}"

    @property
    def sessions(self) -> str:
        """Sorted set of the digests of browser sessions, by when each ends at the latest."""
        return f"{self.namespace}:sessions"

    def run_owner(self, execution_id: str) -> str:
        """String, the job that a run belongs to; it expires."""
        return f"{self.namespace}:run-owner:{execution_id}"

    def delivery(self, execution_id: str) -> str:
        """Hash `e:<event>, jobs, orphan, ended` of the deliveries of one run."""
        return f"{self.namespace}:delivery:{execution_id}"

    def command_check(self, name: str) -> str:
        """Key or channel that a check of Redis' commands is made on; the keys expire."""
        return f"{self.namespace}:command-check:{name}"

    def callback(self, callback_id: str) -> str:
        """String of one callback."""
        return f"{self.namespace}:callback:{callback_id}"

    def callbacks(self, state: str) -> str:
        """Sorted set of ids of callbacks in a state, by when they entered it."""
        return f"{self.namespace}:callbacks:{state}"

    def callback_queue(self, host: str) -> str:
        """Sorted set of ids of pending callbacks to a host, by when they are tried next."""
        return f"{self.namespace}:callback-queue:{host}"

    def callbacks_of(self, subject: str, name: str) -> str:
        """Sorted set of ids of the callbacks of a job, by sequence."""
        return f"{self.namespace}:callbacks-of:{subject}:{name}"

    @property
    def callback_hosts(self) -> str:
        """Sorted set of hosts with pending callbacks, by when to look at each."""
        return f"{self.namespace}:callback-hosts"

    @property
    def callback_breakers(self) -> str:
        """Hash host → breaker, of hosts that callbacks do not reach."""
        return f"{self.namespace}:callback-breakers"

    @property
    def callback_use(self) -> str:
        """Hash `bytes` → bytes of all callbacks."""
        return f"{self.namespace}:callback-use"

    @property
    def payload_retention(self) -> str:
        """Hash state → up to which time (Unix seconds) the payloads of its jobs are erased."""
        return f"{self.namespace}:payload-retention"

    @property
    def inbox(self) -> str:
        """Sorted set of execution ids with deliveries to process, by when they are due."""
        return f"{self.namespace}:inbox"

    @property
    def orphans(self) -> str:
        """Sorted set of execution ids with deliveries and no job, by the time of the first."""
        return f"{self.namespace}:orphans"

    def _channel(self, name: str) -> str:
        return f"{self.namespace}:{name}:{self.db}" if self.db else f"{self.namespace}:{name}"

    @property
    def delivered(self) -> str:
        """Channel: there is a delivery to process."""
        return self._channel("delivered")

    @property
    def wake(self) -> str:
        """Channel: there may be a job to admit."""
        return self._channel("wake")

    @property
    def settled(self) -> str:
        """Channel: ids of jobs that settled or parked."""
        return self._channel("settled")

    @property
    def arq_queue(self) -> str:
        """Sorted set of arq ids: arq's queue of wake-ups."""
        return f"{self.namespace}:queue"

    @staticmethod
    def arq_job(arq_id: str) -> str:
        """String, the payload of one arq entry."""
        return job_key_prefix + arq_id

    @staticmethod
    def arq_result(arq_id: str) -> str:
        """String, the result of one arq entry, where an older program stored it."""
        return result_key_prefix + arq_id
