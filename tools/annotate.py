"""A simulated annotator mends masks, round by round: python tools/annotate.py experiment=synthetic"""

from samwise.inference.annotating import main

if __name__ == "__main__":
    main()
