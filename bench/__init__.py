"""Measurements. Each prints a table and JSON; nothing here decides a test."""
