"""The contract of the ranks for import-linter: imports go down, never up or across.

The ranks themselves, and every exception, stand in `pyproject.toml`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class Ranks(Contract):
    """Checks every direct import of the graph against the ranks of its two ends."""

    type_name = "ranks"

    ranks = fields.ListField(subfield=fields.StringField())
    pure_rank = fields.IntegerField()
    impure = fields.ListField(subfield=fields.StringField())
    exceptions = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Collects what breaks the contract, and exceptions that nothing needs any more."""
        table = [_line(text) for text in self.ranks]
        allowed = {_exception(text) for text in self.exceptions or []}
        used: set[tuple[str, str]] = set()
        broken: list[str] = []
        for importer in sorted(graph.modules):
            if graph.is_module_squashed(importer):
                continue  # not ours
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                why = self._judge(table, importer, imported)
                if why and (importer, imported) in allowed:
                    used.add((importer, imported))
                elif why:
                    broken.append(f"{importer} -> {imported}: {why}")
        broken += [f"{a} -> {b}: this exception is not needed" for a, b in allowed - used]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: Any) -> None:
        """One line for each import that breaks the contract."""
        for line in check.metadata["broken"]:
            output.print_error(line)

    def _judge(self, table: list[tuple[str, float]], importer: str, imported: str) -> str:
        if importer == "kerwen.__main__":
            return ""
        mine = _rank(table, importer)
        if not imported.startswith("kerwen"):
            impure = imported in self.impure and mine <= self.pure_rank and mine > 0
            return "a pure file gets time, chance and the world as arguments" if impure else ""
        theirs = _rank(table, imported)
        if theirs < mine or (_home(importer) == _home(imported) and theirs <= mine):
            return ""
        return f"rank {mine:g} imports rank {theirs:g}"


def _line(text: str) -> tuple[str, float]:
    pattern, _, rank = text.partition(" = ")
    return pattern, float(rank)


def _exception(text: str) -> tuple[str, str]:
    importer, _, imported = text.partition(" -> ")
    return importer, imported


def _rank(table: list[tuple[str, float]], module: str) -> float:
    parts = module.split(".")
    above = [".".join(parts[: n + 1]) for n in range(len(parts))]
    for pattern, rank in table:
        if any(name.count(".") == pattern.count(".") and fnmatchcase(name, pattern)
               for name in above):  # fmt: skip
            return rank
    return 0.0  # kerwen itself: an empty package


def _home(module: str) -> str:
    """The package of the second level: a subject or a door. What assembles is one home."""
    name = ".".join(module.split(".")[:2])
    return "kerwen" if name in ("kerwen.main", "kerwen.cli", "kerwen.commands") else name
