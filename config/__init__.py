"""Settings and logging. Imports no other package of this project."""
