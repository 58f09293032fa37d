"""Numbers of threads: PyTorch's, and those of the BLAS that NumPy, SciPy and scikit-learn use."""

import os
import subprocess
import sys

BOUND = """
from bench.core.compat import use_threads
use_threads(1)
import sklearn.linear_model, torch
from threadpoolctl import threadpool_info
pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
assert pools and torch.get_num_threads() == 1
print({pool["num_threads"] for pool in pools})
"""


def test_one_thread_is_one_in_every_blas():
    free = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", BOUND],
        env=free | {"OPENBLAS_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "{1}\n", done.stderr
