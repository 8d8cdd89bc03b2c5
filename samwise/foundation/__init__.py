"""Trains the default model's frozen parts on the embedded data: a promptable SAM 2 and a text encoder.

This repeats in small what Meta and the authors of RoBERTa did at scale.
"""
