"""The structure of the source, read from its syntax: who imports whom, and what is counted.

    python tests/support/house.py          # what breaks the dependency rules, and the figures
    python tests/support/house.py shrink   # writes what is left into tests/contract/house.json

The rules themselves are `ROOMS`; tests/contract/test_house.py holds the source against them.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "methods", "probes", "reports", "slurm")
# `python -m bench.<command>`: every file directly in bench/ but the grammar of all of them, and
# every folder that can be started.
GRAMMAR = ("__init__", "cli")
_FILES = [p.stem for p in (ROOT / "bench").glob("*.py") if p.stem not in GRAMMAR]
_FOLDERS = [p.parent.name for p in (ROOT / "bench").glob("*/__main__.py")]
COMMANDS = tuple(sorted(_FILES + _FOLDERS))
# What each room may import, beside itself. A room is a package; the longest name that fits counts.
LEAVES = ("bench.core.metrics", "bench.core.numbers", "bench.core.compat", "bench.core.ranges")
CORE = ("bench.core",)
ROOMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LEAVES, ()),
    "bench.core.model": LEAVES,
    "bench.core.store": LEAVES,
    "bench.core.data": (*LEAVES, "bench.core.model", "bench.core.store"),
    "bench.core.train": (*LEAVES, "bench.core.model", "bench.core.store", "bench.core.data"),
    "bench.config": CORE,
    "bench.config.keys": ("bench.config.schema", "bench.config.words", *LEAVES),
    "bench.cli": (
        *("bench.config.keys", "bench.config.schema", "bench.config.words", *LEAVES),
        "bench.core.store.untrusted",  # what it says names files of other people
    ),
    "bench.training": ("bench.config", *CORE),
    "bench.evaluation": (
        *("bench.training", "bench.config", "bench.cli", "bench.config.keys", *CORE),
        *("probes.metric", "bench.machine.estimate"),
    ),
    "bench.study": (
        *(
            "bench.training",
            "bench.config",
            "bench.cli",
            *CORE,
            "bench.machine.host",
            "bench.machine.pace",
            "bench.evaluation.tasks",
        ),
        "reports.findings.claims",  # a study file names the claims that it is for
    ),
    "bench.serve": ("bench.evaluation", "bench.config", "bench.cli", *CORE, "probes"),
    "bench.machine": ("bench.config", *CORE),
    "methods": CORE,
    "probes": CORE,
    "reports.study": ("bench.core.store", "bench.core.model.sampling_protocol", *LEAVES),
    "reports.draw": LEAVES,
    "reports.findings": ("reports.study", "reports.draw", *LEAVES, "bench.core.store"),
    "reports.laws": (
        *("reports.study", "reports.draw", "bench.core.store", *LEAVES),
        "bench.core.model.sizes",  # which sizes there are beside those of a study
    ),
    "reports.output": ("reports.study", "reports.draw", *LEAVES, "bench.core.store"),
    "reports.page": ("reports", "bench.core.store", "bench.core.model.sampling_protocol", *LEAVES),
    "slurm": ("bench.study.request", "bench.cli", "bench.core.store", "bench.config.schema"),
    # what a command does over several rooms; the command itself names it
    "bench.commands": ("bench", "methods", "probes", "reports", "slurm"),
    "bench": ("bench", "methods", "probes", "reports", "slurm"),  # the commands
}


GROWING = ("files", "lines of source")  # new rooms may be built


@dataclass(frozen=True)
class Import:
    """One module needing another; hidden: inside a function, where no reader looks for it."""

    source: str
    target: str
    hidden: bool
    line: int
    name: str = ""


TRAVELS = ROOT / "bench" / "evaluation" / "model_repository"  # code that stands alone elsewhere


class House:
    """All modules of the five packages but those that travel; file: dotted name -> path."""

    def __init__(self, root: Path = ROOT):
        self.root = root
        self.files = {
            self._dotted(path): path
            for package in PACKAGES
            for path in sorted((root / package).rglob("*.py"))
            if path.parent != TRAVELS
        }
        self.trees = {
            name: ast.parse(path.read_text(encoding="utf-8")) for name, path in self.files.items()
        }

    def _dotted(self, path: Path) -> str:
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of one of our modules, `if TYPE_CHECKING` left out of the hidden ones."""
        return [found for name in self.files for found in self._imports_of(name)]

    def _imports_of(self, name: str) -> Iterator[Import]:
        def visit(node: ast.AST, hidden: bool) -> Iterator[Import]:
            for child in ast.iter_child_nodes(node):
                inside = hidden or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                if isinstance(child, ast.ImportFrom) and child.module:
                    for alias in child.names:
                        whole = f"{child.module}.{alias.name}"
                        target = whole if whole in self.files else child.module
                        if target in self.files:
                            yield Import(
                                name,
                                target,
                                hidden,
                                child.lineno,
                                "" if whole in self.files else alias.name,
                            )
                elif isinstance(child, ast.Import):
                    for alias in child.names:
                        if alias.name in self.files:
                            yield Import(name, alias.name, hidden, child.lineno)
                else:
                    yield from visit(child, inside)

        yield from visit(self.trees[name], False)

    def room(self, module: str) -> str:
        """The room that a module is in: the longest of `ROOMS` that its name begins with."""
        fitting = [room for room in ROOMS if module == room or module.startswith(f"{room}.")]
        return max(fitting, key=len)

    def violations(self) -> set[str]:
        """Imports that the rules forbid, "a -> b"."""
        found = set()
        for one in self.imports:
            room, other = self.room(one.source), self.room(one.target)
            allowed = (room, *ROOMS[room])
            lies = any(one.target == name or one.target.startswith(f"{name}.") for name in allowed)
            command = other == "bench" and one.target != "bench"
            if (room != other and not lies) or command:
                found.add(f"{one.source} -> {one.target}")
        return found

    def circles(self) -> set[str]:
        """Modules that import each other in a circle, hidden imports included, "a, b"."""
        graph: dict[str, set[str]] = defaultdict(set)
        for one in self.imports:
            graph[one.source].add(one.target)
        order: dict[str, int] = {}
        low: dict[str, int] = {}
        stack: list[str] = []
        found: set[str] = set()

        def connect(module: str) -> None:  # Tarjan's strongly connected components
            order[module] = low[module] = len(order)
            stack.append(module)
            for other in graph[module]:
                if other not in order:
                    connect(other)
                    low[module] = min(low[module], low[other])
                elif other in stack:
                    low[module] = min(low[module], order[other])
            if low[module] == order[module]:
                circle = []
                while not circle or circle[-1] != module:
                    circle.append(stack.pop())
                if len(circle) > 1:
                    found.add(", ".join(sorted(circle)))

        for module in self.files:
            if module not in order:
                connect(module)
        return found

    def hidden_imports(self) -> list[str]:
        """Import statements of our own inside functions."""
        statements = {(one.source, one.line, one.target) for one in self.imports if one.hidden}
        return [f"{source}:{line} -> {target}" for source, line, target in sorted(statements)]

    def private_imports(self) -> set[str]:
        """`_names` that another file imports."""
        return {
            f"{one.source} -> {one.target}.{one.name}"
            for one in self.imports
            if one.name.startswith("_")
        }

    def double_names(self) -> dict[str, list[str]]:
        """Public module-level names that two or more modules define."""
        where: dict[str, set[str]] = defaultdict(set)
        for module, tree in self.trees.items():
            for node in tree.body:
                names = []
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    names = [node.name]
                elif isinstance(node, ast.Assign):
                    names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    names = [node.target.id]
                for name in names:
                    if not name.startswith("_"):
                        where[name].add(module)
        return {
            name: sorted(modules) for name, modules in sorted(where.items()) if len(modules) > 1
        }

    def writers(self) -> set[str]:
        """Modules that rename files into place by themselves."""
        found = set()
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Attribute)
                    and node.attr == "replace"
                    and isinstance(node.value, ast.Name)
                ):
                    if node.value.id == "os":
                        found.add(module)
                elif (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and node.value.endswith(".tmp")
                ):
                    found.add(module)
        return found

    def grammars(self) -> set[str]:
        """Modules that take KEY=VALUE apart, or read words by argparse."""
        found = set()
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                first = node.args[0] if node.args else None
                splits = node.func.attr in ("partition", "split") and isinstance(
                    first, ast.Constant
                )
                if (splits and first.value == "=") or node.func.attr == "ArgumentParser":
                    found.add(module)
        return found

    def readers_of_runs(self) -> set[str]:
        """Modules that name run.json outside a docstring."""
        found = set()
        for module, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and node.value == "run.json":
                    found.add(module)
        return found

    def figures(self) -> dict[str, int]:
        """What the house is held to, counted."""
        lines = [
            line
            for path in self.files.values()
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        anys = Counter(
            isinstance(node, ast.Name) and node.id == "Any"
            for tree in self.trees.values()
            for node in ast.walk(tree)
        )
        long = sum(len(line) > 100 for line in lines)
        directly = {
            name: len([p for p in (self.root / name).glob("*.py") if p.stem != "__init__"])
            for name in ("bench", "bench/core")
        }
        return {
            "command-line grammars": len(self.grammars()),
            "atomic writers": len(self.writers()),
            "readers of run.json": len(self.readers_of_runs()),
            "own imports hidden in functions": len(self.hidden_imports()),
            "Any": anys[True],
            "public names defined twice": len(self.double_names()),
            "files directly in bench/": directly["bench"],
            "files directly in bench/core/": directly["bench/core"],
            "circles": len(self.circles()),
            "arrows that run up between rooms": len(self.violations()),
            "private names across files": len(self.private_imports()),
            "lines over 100 characters": long,
            "files": len(self.files),
            "lines of source": len(lines),
        }


if __name__ == "__main__":
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("action", choices=["show", "shrink"], default="show", nargs="?")
    action = parser.parse_args().action
    house = House()
    if action == "shrink":
        left = {
            "violations": sorted(house.violations()),
            "double names": sorted(house.double_names()),
        }
        stored = Path(__file__).parents[1] / "contract" / "house.json"
        held_to = {name: n for name, n in house.figures().items() if name not in GROWING}
        stored.write_text(json.dumps(left | {"at most": held_to}, indent=1) + "\n")
    for what in (
        house.violations(),
        house.circles(),
        house.private_imports(),
        house.hidden_imports(),
    ):
        print(*sorted(what), sep="\n")
        print()
    for name, modules in house.double_names().items():
        print(f"{name:24}{', '.join(modules)}")
    print()
    for module in ("grammars", "writers", "readers_of_runs"):
        print(f"{module:24}{', '.join(sorted(getattr(house, module)()))}")
    print()
    for name, count in house.figures().items():
        print(f"{count:7,}  {name}")
