"""One file a method: what differs between two arms, and nothing else.

Options and values are in bench/conf/method.
"""
