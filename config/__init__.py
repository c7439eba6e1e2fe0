"""Settings and logging set-up: the leaf of the tree, imports nothing of ours."""
