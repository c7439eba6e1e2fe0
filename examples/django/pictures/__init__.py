"""Pictures that are wanted."""
