"""When to poll a running job: schedules, poll plans, and what is learned from past durations."""
