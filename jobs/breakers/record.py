"""The record of a breaker, and the outcomes that it counts. Times are Unix seconds."""

import hashlib
from typing import Final, NamedTuple

import msgspec

from jobs.breakers.rules import (
    BREAKER_RULES,
    LANE_GROWTH,
    LOSSES_OUTLASTED,
    MAX_PAUSE_S,
    MIN_OPEN_S,
    SUSPECT_S,
    BreakerCause,
    BreakerRule,
    BreakerState,
)
from jobs.lanes import Lane, Scope


class BreakerError(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The last error that a breaker counted, without anything of a job's inputs."""

    code: str
    """The provider's code, `HTTP_<status>`, `uncertain` or `unreachable`."""
    http_status: int | None = None
    message: str = ""


class FailedSubmit(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A submit whose failure was counted."""

    token: str
    """`<job id>:<number of the attempt>`: each is counted once."""
    fingerprint: str
    """Digest of the job's request."""
    lane: str = ""
    """The lane it was of; empty in records of older versions."""

    @property
    def job_id(self) -> str:
        """The job it was of."""
        return self.token.rpartition(":")[0]


class PostponedRetry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A job whose next try waits for longer than usual, since its lane is quiet."""

    job_id: str
    failing_since: float
    """Its first failure: a run submitted after that, and succeeded, makes the job due at once."""
    until: float
    """When it is due by itself."""


class BreakerFailure(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome that counts against a scope."""

    scope: Scope
    cause: BreakerCause
    error: BreakerError
    epoch: int = 0
    """The breaker's epoch at the send mark."""
    submit: FailedSubmit
    began_at: float = 0.0
    """When its attempt began."""
    is_run: bool = False
    """A run failed that was accepted, not its submit."""
    in_flight: int = 0
    """Others of the scope that have no outcome yet: while these are more than the failures, they
    may just be slower to succeed than the others were to fail."""
    is_canary: bool = False
    """The breaker counted it in its step."""
    is_of_slowed_lane: bool = False
    """A breaker of its lane counted it in its step, after losses: one more says nothing new of the
    route, unless the route is probed with it."""
    retry_after_s: float | None = None
    """The provider asks not to be called for this long."""
    failing_since: float = 0.0
    """The job's first failure since it last succeeded or was requeued."""
    postponed_until: float | None = None
    """When its job is tried again if nothing else succeeds, and that is later than usual."""
    worker: str = ""
    """Who saw it; the engine fills it in, like the next."""
    live_workers: int = 1

    @property
    def key(self) -> str:
        """The breaker it is for."""
        return breaker_key(self.scope, self.cause)


class BreakerSuccess(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome that speaks for a scope: an accepted submit, or of a target a succeeded run."""

    scope: Scope
    cause: BreakerCause
    epoch: int = 0
    is_run: bool = False
    """A run succeeded, not only its submit."""
    is_canary: bool = False
    """A breaker counted it in its step."""
    began_at: float = 0.0
    """When its attempt began."""

    @property
    def key(self) -> str:
        """The breaker it is for."""
        return breaker_key(self.scope, self.cause)


BreakerReport = BreakerFailure | BreakerSuccess


def breaker_key(scope: Scope, cause: BreakerCause) -> str:
    """The identity of a breaker: `scope|cause`."""
    return f"{scope}|{cause}"


def breaker_id(scope: Scope, cause: BreakerCause) -> str:
    """The public id of a breaker: `breaker-` and ten hexadecimal digits of a digest of its key."""
    digest = hashlib.blake2s(breaker_key(scope, cause).encode(), digest_size=5).hexdigest()
    return f"breaker-{digest}"


class Breaker(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="schema",
    tag=1,
    forbid_unknown_fields=True,
):
    """One breaker, as every worker sees it."""

    scope: Scope
    cause: BreakerCause
    state: BreakerState = BreakerState.CLOSED
    changed_at: float = 0.0
    """When its state, or its step, last changed."""
    epoch: int = 0
    """Grows whenever it trips, and whenever a probe begins or fails. It is never used again, since
    it is at least the time of that in milliseconds."""
    tripped_epoch: int = -1
    """The epoch whose failures tripped it last; -1: none did."""
    error: BreakerError | None = None
    """The last error that counted."""
    failed_at: float | None = None
    """When that was."""
    opened_at: float | None = None
    """Since when it has not been closed; None while it is closed."""
    next_probe_at: float | None = None
    """While it is open: when it is probed next."""
    canary_at: float = 0.0
    """While it is open: no canary goes before this."""
    pauses: int = 0
    """Canaries and trips in a row that failed; the pause doubles with each."""
    failed_calls: int = 0
    """Free calls in a row that failed since it opened."""
    call_error: BreakerError | None = None
    """Why the last of these failed; None if it was answered, or none was made."""
    step: int = 0
    """While probing: how many submits may be under way at once."""
    accepted: int = 0
    """Accepted (of a lane: succeeded) in this step, or since it closed."""
    failures_in_row: int = 0
    failures: int = 0
    """Failures counted since it was last without any."""
    window: str = ""
    """The last outcomes of submits, oldest first: `0` good, `1` failed."""
    run_failures_in_row: int = 0
    run_window: str = ""
    """The same of accepted runs: runs end in another order than their submits."""
    lost_since: float = 0.0
    """When the first of the failures in a row was counted."""
    loss_s: float = 0.0
    """How long the slowest of these failures took, from the begin of its attempt."""
    failed: tuple[FailedSubmit, ...] = ()
    """The last failures that counted."""
    trips: int = 0
    """How often it tripped since it was first seen."""
    probed_jobs: tuple[str, ...] = ()
    """Jobs that were canaries since it opened, newest last: others go first."""
    workers: tuple[str, ...] = ()
    """Workers that cannot connect (cause `unreachable`)."""
    is_shared: bool = True
    """Whether it stops every worker, or only those in `workers`."""
    prober: str = ""
    """The worker that makes, or made, the last probe call."""
    prober_until: float | None = None
    """While a probe call is under way: when another worker takes over."""
    proved_at: float = 0.0
    """Of a lane: when the newest run began that succeeded while failures were on record."""
    postponed: tuple[PostponedRetry, ...] = ()
    """Of a lane: jobs whose next try is postponed, the oldest first."""
    evidence_of: str | None = None
    """The job of the canary whose outcome is unknown: its finding may end the pause."""

    @property
    def id(self) -> str:
        """Its public id."""
        return breaker_id(self.scope, self.cause)

    def is_outlasted(self, began_at: float, now: float) -> bool:
        """Whether a sync submit that is still open counts as accepted.

        It was sent after the first loss in a row, and is open for twice as long as losses took.
        """
        is_awaited = self.failures_in_row > 0 or self.state is BreakerState.PROBING
        is_later = began_at > self.lost_since > 0
        open_s = now - began_at
        return is_awaited and is_later and open_s > LOSSES_OUTLASTED * self.loss_s + MIN_OPEN_S

    @property
    def key(self) -> str:
        """Its identity, `scope|cause`."""
        return breaker_key(self.scope, self.cause)

    @property
    def rule(self) -> BreakerRule:
        """The rule of its cause."""
        return BREAKER_RULES[self.cause]

    @property
    def is_clean(self) -> bool:
        """Whether it is closed without recent failures: a success would change nothing."""
        is_quiet = not self.failures and not self.pauses and not self.postponed
        return self.state is BreakerState.CLOSED and is_quiet

    @property
    def pause_s(self) -> float:
        """The pause that the next canary waits, or waited, for."""
        return self.rule_pause_s(self.pauses)

    def rule_pause_s(self, pauses: int) -> float:
        """The pause after so many failed canaries in a row."""
        rule = self.rule
        return min(rule.max_pause_s, rule.first_pause_s * 2.0 ** min(max(0, pauses - 1), 30))

    @property
    def is_of_route(self) -> bool:
        """Whether its scope is a route, and so several lanes."""
        return self.scope.count("/") == 1

    @property
    def route_key(self) -> str | None:
        """For the unknown outcomes of a lane: the breaker of its route, which probes before it."""
        if self.cause is not BreakerCause.UNKNOWN_OUTCOME or self.is_of_route:
            return None
        return breaker_key(Scope(self.scope.rpartition("/")[0]), self.cause)

    @property
    def suspect_inputs(self) -> frozenset[str]:
        """Digests of the inputs that failed last, if several jobs failed with equal ones.

        These may be at fault, and not the target.
        """
        failed = {(one.job_id, one.fingerprint) for one in self.failed}
        inputs = frozenset(fingerprint for _, fingerprint in failed)
        return inputs if len(inputs) < len(failed) else frozenset()

    @property
    def growth(self) -> int:
        """How many times more canaries its next step allows at once."""
        return self.rule.growth if self.route_key is None else LANE_GROWTH

    def is_suspect(self, now: float) -> bool:
        """Whether a first unknown outcome slows its lane down."""
        return (
            self.cause is BreakerCause.UNKNOWN_OUTCOME
            and not self.is_of_route
            and self.state is BreakerState.CLOSED
            and self.failures_in_row > 0
            and self.failed_at is not None
            and 0 <= now - self.failed_at < SUSPECT_S
        )

    def is_relapsing(self, now: float) -> bool:
        """Whether calls are answered, and yet it tripped again before any submit was."""
        return (
            self.cause is BreakerCause.UNREACHABLE
            and self.pauses > 1
            and self.call_error is None
            and now - (self.failed_at or now) < MAX_PAUSE_S
        )

    def stops(self, worker: str) -> bool:
        """Whether it applies to a worker; without a name, whether it applies to all."""
        return self.is_shared or worker in self.workers

    def submits_allowed(self, now: float) -> int | None:
        """How many submits it lets through at once: none, some, or any number (None)."""
        match self.state:
            case BreakerState.OPEN:
                return 0
            case BreakerState.PROBING:
                return self.step
            case BreakerState.CLOSED:
                return 1 if self.is_suspect(now) else None


def new_breaker(scope: Scope, cause: BreakerCause) -> Breaker:
    """The breaker of a scope that has no record: closed, without failures."""
    return Breaker(scope=scope, cause=cause)


class BreakerEpochs(NamedTuple):
    """The epochs of the breakers that a submit passes, in the order of `breaker_keys`."""

    route: int = 0
    """Of the unknown outcomes of its route."""
    target: int = 0
    """Of the failures of its target."""
    lane: int = 0
    """Of the unknown outcomes of its lane; records of older versions have none."""


NO_EPOCHS: Final = BreakerEpochs()
"""No breaker has a record."""


def breaker_keys(lane: Lane) -> tuple[str, str, str]:
    """The breakers whose epochs a submit carries, in the order of `BreakerEpochs`."""
    name = Scope(str(lane))
    return (
        breaker_key(lane.route, BreakerCause.UNKNOWN_OUTCOME),
        breaker_key(name, BreakerCause.TARGET_FAILURE),
        breaker_key(name, BreakerCause.UNKNOWN_OUTCOME),
    )


class PassedBreakers(NamedTuple):
    """The breakers that an admission passes, and what they are to the job."""

    epochs: BreakerEpochs = NO_EPOCHS
    canary_of: tuple[str, ...] = ()
    """Breakers that count this submit in their step until it is answered."""
    probe_of: str | None = None
    """The breaker of its target, if that counts this run until it ends."""
    tripped_epoch: int | None = None
    """The epoch that tripped the breaker of its target last."""


NO_BREAKERS: Final = PassedBreakers()
