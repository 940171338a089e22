"""A contract type for import-linter: what some modules may import of ours, as a list of what is allowed.

The built-in forbidden contract names what is forbidden, so a module that is added later is allowed until somebody
remembers it; and it fails on a module that does not exist yet. An allow list has neither fault.
"""

from __future__ import annotations

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

Violation = tuple[str, str, int]


def within(module: str, packages: list[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


class AllowedContract(Contract):
    """`sources` (packages, with all below them) import of `among` nothing but `allowed` and themselves."""

    type_name = "allowed"

    sources: Any = fields.ListField(subfield=fields.StringField())
    among: Any = fields.ListField(subfield=fields.StringField())
    allowed: Any = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        violations: list[Violation] = []
        for module in sorted(graph.modules):
            if within(module, self.sources):
                violations += self._violations(graph, module)
        return ContractCheck(kept=not violations, metadata={"violations": violations})

    def _violations(self, graph: ImportGraph, module: str) -> list[Violation]:
        own = [source for source in self.sources if within(module, [source])]
        found: list[Violation] = []
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            if within(imported, self.among) and not within(imported, [*self.allowed, *own]):
                details = graph.get_import_details(importer=module, imported=imported)
                found += [(module, imported, detail["line_number"]) for detail in details]
        return found

    def render_broken_contract(self, check: ContractCheck) -> None:
        for module, imported, line in check.metadata["violations"]:
            output.print_error(f"{module} may not import {imported} (line {line})", bold=False)
        output.new_line()
