"""The demo: a batch against the sandbox with a job for each outcome."""
