"""The same workload for everybody: python -m bench.peers."""
