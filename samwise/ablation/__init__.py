"""The paper's ablation tables, trained and scored row by row: ``scripts/ablate.py``."""
