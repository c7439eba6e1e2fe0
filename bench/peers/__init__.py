"""The same workload for this worker and its peers: python -m bench.peers."""
