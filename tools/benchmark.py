"""Measures speed and memory: python tools/benchmark.py memory frames=20000"""

from samwise.benchmark.main import main

if __name__ == "__main__":
    main()
