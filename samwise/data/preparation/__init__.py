"""Preparing the benchmarks' data: unpacking, inspection, indices."""
