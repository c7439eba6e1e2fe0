"""What apps and operators can do: enqueue, act, ask. Use cases without I/O of their own."""
