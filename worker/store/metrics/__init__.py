"""Counters, histograms and time series: counted in memory, kept in Redis."""
