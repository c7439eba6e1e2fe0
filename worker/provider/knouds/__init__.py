"""Knouds as a provider: its calls, its answers, its webhooks. `wire` and `calls` do no I/O."""
