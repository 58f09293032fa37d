"""A corridor as a benchmark of vla-eval, which imports it by name."""

from support.worlds import corridor

from bench.serve.world_benchmark import WorldBenchmark


class CorridorBenchmark(WorldBenchmark):
    def __init__(self):
        self._of(corridor("walk", "hop"))
