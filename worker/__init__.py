"""The shell: everything that touches Redis, the network, the clock or an operator."""
