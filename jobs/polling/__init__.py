"""When to poll a running job: schedules, poll plans, and estimates of durations."""
