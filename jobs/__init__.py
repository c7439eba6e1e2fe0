"""The domain: what a job is and what may happen to it. No I/O, clock, randomness or logging."""
