"""One cache for all tests: an extractor that one of them has trained, no other trains again."""

import os
import shutil
import tempfile

CACHE = "BENCH_TEST_CACHE"  # where support.runs.tiny_run looks


def pytest_configure(config):
    if CACHE not in os.environ:  # workers have it from the process that starts them
        os.environ[CACHE] = tempfile.mkdtemp(prefix="bench-cache-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(CACHE), ignore_errors=True))
