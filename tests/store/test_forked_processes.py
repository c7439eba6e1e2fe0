"""Processes that were forked after the import commit as strangers to each other."""

import subprocess
import sys

REVISION_OF_EACH = """
import os
from tests.unit.core.job_builders import a_job
from worker.store.commit import Change
from worker.store.side_writes import SideWrites
from worker.store.keys import Keys
child = os.fork()
job = a_job()
change = Change(Keys("forked"), job.id, "3.abc").write(job, job, SideWrites())
os.write(1, change.rev.encode() + b"\\n")
if child:
    os.waitpid(child, 0)
"""


def test_the_revisions_of_forked_processes_differ() -> None:
    """Else each takes what the other wrote for its own commit, and both submit the job."""
    command = [sys.executable, "-c", REVISION_OF_EACH]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    ours, others = ended.stdout.split()
    assert ours != others
    assert {rev.partition(".")[0] for rev in (ours, others)} == {"4"}
