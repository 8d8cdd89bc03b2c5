"""Trains the small frozen parts: a promptable SAM 2 and a text encoder, on the embedded data.

What Meta and the authors of RoBERTa did at scale, in small: the default model freezes the results.
"""
