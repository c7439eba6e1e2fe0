"""Reads of many jobs at once, for lists, groups and counts."""
