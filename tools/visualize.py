"""Draws what happens inside the network: python tools/visualize.py what=features|memory"""

from samwise.visualization.main import main

if __name__ == "__main__":
    main()
