"""The HTTP API: thin handlers over the use cases of `worker.app`."""
