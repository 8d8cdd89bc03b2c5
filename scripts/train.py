"""Trains a network: python scripts/train.py experiment=synthetic"""

from samwise.training.main import main

if __name__ == "__main__":
    main()
