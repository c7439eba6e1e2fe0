"""The demo: a first batch against the sandbox that takes every road of a job's life."""
