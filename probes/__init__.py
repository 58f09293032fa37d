"""What is measured on frozen weights: distances of samples to data, and what features know.

Every module takes plain arrays or tensors; `probes.samples` and `probes.representation` turn a run's samples and
features into result rows, each of which carries its complete protocol (`probes.protocols`).
"""
