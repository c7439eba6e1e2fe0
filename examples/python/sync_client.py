"""Runs a job and prints its result: KNOUDS_API_URL=http://127.0.0.1:8080 python sync_client.py."""

import sys

from knouds_worker_client import Client, JobDead, JobParked

with Client() as client:
    try:
        job = client.run("model", "gpt-image-2", {"prompt": "a cat"}, tags=["example"])
    except (JobDead, JobParked) as stopped:  # `reason` says what to do
        sys.exit(f"{stopped.job.id} is {stopped.job.state}: {stopped.job.reason}")
    print(job.result)
