"""What is measured on frozen weights: distances of samples to data, and what features know.

Every module takes plain arrays or tensors; `probes.distances.local` and `probes.features.rows` turn
a run's samples and features into result rows, each of which carries its complete protocol
(`probes.protocols`).
"""
