"""Recurring schedules: which ticks a cron line has, and what becomes of those that are due."""
