"""What is measured on frozen weights: distances of samples to data, and what features know.

A metric is a class of one file (`probes.metric`) whose rows carry complete protocols; the functions
beside it take plain arrays or tensors. What there is stands in bench/conf/metrics.yaml.
"""
