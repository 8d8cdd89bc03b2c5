"""Measurements a user can repeat: ``python tools/benchmark.py NAME key=value``.

A benchmark is a module here with ``run(cfg)`` and a config ``configs/benchmark/<name>.yaml`` of that name.
"""
