"""python -m bench.serve run=DIR"""

from bench.serve import SERVE

if __name__ == "__main__":
    SERVE.start()
