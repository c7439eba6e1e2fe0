"""Enqueue runs for a peer: python -m bench.peers.programs.enqueue_runs PROGRAM.

A program of its own, since a task's name is that of the module it is in.
"""

import asyncio
import importlib
import sys

if __name__ == "__main__":
    asyncio.run(importlib.import_module(f"bench.peers.programs.{sys.argv[1]}").enqueue())
