"""What is compared: one program each, run in an environment of its own."""
