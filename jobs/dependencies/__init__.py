"""Jobs that wait until others have succeeded, and take from their results."""
