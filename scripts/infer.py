"""Predictions for a dataset: python scripts/infer.py experiment=synthetic"""

from samwise.inference.infer import main

if __name__ == "__main__":
    main()
