"""Predictions for a dataset: python scripts/infer.py experiment=synthetic checkpoint=runs/quickstart/video"""

from samwise.inference.main_infer import main

if __name__ == "__main__":
    main()
