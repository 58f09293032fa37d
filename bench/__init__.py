"""A benchmark of ways to give flow-matching transformers good representations.

Start with `python -m bench.run --help`.
"""
