"""Benchmarks that the command `nonlin bench` runs: each one a function that returns a result with a table and JSON."""

from nonlin.benchmarks.strategies import Measured, Standing, bench_strategies
from nonlin.benchmarks.table import Table, check_table, find_table, make_table, read_table

__all__ = [
    "Measured",
    "Standing",
    "Table",
    "bench_strategies",
    "check_table",
    "find_table",
    "make_table",
    "read_table",
]
