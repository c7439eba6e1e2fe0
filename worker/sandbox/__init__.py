"""The sandbox: the Knouds API served locally over real HTTP: no credits, no network, any fault.

`python -m worker.sandbox` serves it; README.md beside this file lists admin calls, faults and
the options of `inputs.sandbox`. It shares no code with the worker: shared code would share its
mistakes.
"""

from worker.sandbox.clock import SandboxClock, SandboxSystemClock, SettableClock
from worker.sandbox.config import DEFAULT_KEY, SandboxConfig
from worker.sandbox.http.app import running

__all__ = [
    "DEFAULT_KEY",
    "SandboxClock",
    "SandboxConfig",
    "SandboxSystemClock",
    "SettableClock",
    "running",
]
