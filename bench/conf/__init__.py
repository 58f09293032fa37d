"""YAML groups of the configuration: one file an option,
with every value and where it comes from.
"""
