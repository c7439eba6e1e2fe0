"""Background services of a worker, one `tick(now)` each."""
