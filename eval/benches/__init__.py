"""The plain ways that the benchmarks compare with, and how turns are timed."""
