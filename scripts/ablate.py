"""Trains and scores an ablation table of the paper: python scripts/ablate.py table=2"""

from samwise.ablation.main import main

if __name__ == "__main__":
    main()
