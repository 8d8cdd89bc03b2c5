"""Measurements anybody can repeat: ``python tools/benchmark.py NAME key=value``.

A benchmark is a module here with ``run(cfg)``, and a config of the same name in ``configs/benchmark``.
"""
