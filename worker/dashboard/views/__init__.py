"""Turns records into what pages show: texts, tables and charts, without a request or I/O."""
