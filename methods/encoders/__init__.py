"""Frozen external encoders: one small class each,
owning its preprocessing and returning `EncoderFeatures`.
"""
