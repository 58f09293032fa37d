"""What the commands do: each joins rooms, with its imports at the top; the command itself
(bench/NAME.py) has the words and the help page, and imports none of this before it runs.
"""
