"""One module per resource: thin handlers over `worker.app`."""
