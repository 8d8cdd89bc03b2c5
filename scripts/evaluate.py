"""Scores predictions: python scripts/evaluate.py experiment=synthetic predictions=runs/infer/predictions"""

from samwise.evaluation.main import main

if __name__ == "__main__":
    main()
