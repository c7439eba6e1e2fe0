"""What apps and operators can do: enqueue, act, query. Use cases without I/O of their own."""
