"""The shell: everything that touches Redis, the network, the clock or a person."""
