"""A benchmark of ways to give flow-matching transformers good representations.

Start with `python -m bench.run --help`.
"""

import sys

OLDEST = (3, 11)
if sys.version_info < OLDEST:  # before any line that an older one cannot read
    sys.exit(
        "error: this Python, {} ({}), is older than {}.{}: make an environment with a newer one, "
        "make PYTHON=python3.11 demo".format(sys.executable, sys.version.split()[0], *OLDEST)
    )
