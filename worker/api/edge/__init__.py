"""What stands between the network and the handlers: client addresses, limits and time limits."""
