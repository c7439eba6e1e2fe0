"""Admin calls under `/_sandbox/`: look into the sandbox, and change it while it runs."""
