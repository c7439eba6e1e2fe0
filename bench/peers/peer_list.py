"""Who is compared, how each is started, and what has to be known of it."""

from dataclasses import dataclass
from typing import Final

PROGRAMS: Final = "bench.peers.programs"


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to do it: a program, its requirements, and the command of its worker."""

    name: str
    program: str
    requirements: str
    worker: tuple[str, ...]
    durability: str
    """What is left of a run when its worker is killed."""

    @property
    def has_queue(self) -> bool:
        """Whether runs are handed over through Redis."""
        return self.program != "bare"


def command(slots: int, peer: Peer) -> tuple[str, ...]:
    """The command of a worker with so many slots."""
    return tuple(word.format(slots=slots) for word in peer.worker)


BARE: Final = Peer(
    "bare loop", "bare", "bare", ("-m", f"{PROGRAMS}.bare"), "nothing: the floor of what it costs"
)
TASKIQ: Final = Peer(
    "taskiq",
    "on_taskiq",
    "taskiq",
    (
        *("-m", "taskiq", "worker", f"{PROGRAMS}.on_taskiq:broker", "--workers", "1"),
        *("--max-async-tasks", "{slots}", "--log-level", "WARNING"),
    ),
    "nothing: a task is off its list once it is begun; no result is kept",
)
SAQ: Final = Peer(
    "SAQ",
    "on_saq",
    "saq",
    ("-m", "saq", f"{PROGRAMS}.on_saq.settings"),
    "the job, begun again from the start: the run is paid for twice; results for 10 minutes",
)
NAIVE: Final = Peer(
    "arq",
    "arq_naive",
    "arq",
    ("-m", "arq", f"{PROGRAMS}.arq_naive.ArqNaiveSettings"),
    "the job, begun again from the start: the run is paid for twice; results for an hour",
)
DEFERRING: Final = Peer(
    "arq deferring",
    "arq_deferring",
    "arq",
    ("-m", "arq", f"{PROGRAMS}.arq_deferring.ArqDeferringSettings"),
    "runs that were submitted go on; one killed in its submit is paid for twice",
)

PEERS: Final = (BARE, TASKIQ, SAQ, NAIVE, DEFERRING)
