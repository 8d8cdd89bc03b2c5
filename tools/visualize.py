"""Draws what happens inside the network: python tools/visualize.py what=features"""

from samwise.visualization.main import main

if __name__ == "__main__":
    main()
