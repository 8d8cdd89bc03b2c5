"""SAMWISE: text-driven video segmentation on a frozen SAM 2."""
