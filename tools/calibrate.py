"""Calibrates presence and trusted frames: python tools/calibrate.py experiment=mevis checkpoint=FILE"""

from samwise.inference.calibrating import main

if __name__ == "__main__":
    main()
