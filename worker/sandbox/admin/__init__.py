"""Admin calls under `/_sandbox/`: they read the sandbox's state and change it."""
