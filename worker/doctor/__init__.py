"""The doctor: is everything the worker relies on as it should be, and where is every job."""
