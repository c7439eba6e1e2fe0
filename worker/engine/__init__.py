"""The engine: background services, each with a `tick(now)`, that bring jobs to their end."""
