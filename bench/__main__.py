"""Runs the benches of this worker one after the other: python -m bench [NAME …].

This takes a quarter of an hour. Each bench is a program, `python -m bench.NAME`; the JSON that they
print goes to `.bench/results.json`. Not included: `python -m bench.peers`, `python -m bench.crash`,
`python -m bench.polling` and `python -m bench.rate_limit`.
"""

import argparse
import json
import subprocess
import sys
from typing import Any, Final

from bench.peers.environments import CACHE

BENCHES: Final = (
    *(
        "load",
        "enqueue_rate",
        "pickup",
        "idle",
        "backlog",
        "memory",
        "scaling",
        "startup_time",
        "depth",
    ),
)


def run(name: str) -> dict[str, Any]:
    """Run a bench, print its output, and return its JSON."""
    command = [sys.executable, "-m", f"bench.{name}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    *shown, last = done.stdout.splitlines()
    print(*shown, sep="\n", flush=True)  # noqa: T201
    found: dict[str, Any] = json.loads(last)
    return found


def main() -> None:
    """Run the benches, print which aims are missed, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=BENCHES, help=" ".join(BENCHES))
    found = {name: run(name) for name in parser.parse_args().names}
    CACHE.mkdir(exist_ok=True)
    into = CACHE / "results.json"
    into.write_text(json.dumps(found, indent=1) + "\n")
    aims = [aim for one in found.values() for aim in one["aims"]]
    missed = [aim["name"] for aim in aims if not aim["met"]]
    print(f"{len(aims) - len(missed)} of {len(aims)} aims met; {into}")  # noqa: T201
    for name in missed:
        print(f"  NOT MET: {name}")  # noqa: T201


if __name__ == "__main__":
    main()
