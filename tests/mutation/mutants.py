"""Small wrong versions of a module, made on its syntax tree: one comparison, operator, constant, call or assignment each."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip
_SILENT = frozenset({"logger"})  # calls on these change nothing but what is printed


@dataclass(frozen=True)
class Mutant:
    """The `number`th wrong version of `path`, at `line`: `what` was changed."""

    path: str
    number: int
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


class _Mutator(ast.NodeTransformer):
    """Walks a module and changes its `wanted`th place; with None it only notes what there is."""

    def __init__(self, wanted: int | None) -> None:
        self._wanted = wanted
        self.found: list[tuple[int, str]] = []

    def _here(self, node: ast.AST, what: str) -> bool:
        self.found.append((getattr(node, "lineno", 0), what))
        return self._wanted == len(self.found) - 1

    # --- what is left as it is --------------------------------------------------------------------------------------------------------

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node  # texts for people

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.args.defaults = [self.visit(default) for default in node.args.defaults]
        node.args.kw_defaults = [default and self.visit(default) for default in node.args.kw_defaults]
        node.body = self._body(node.body)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = self._body(node.body)
        return node

    def _body(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [self.visit(statement) for statement in body]

    # --- what is changed --------------------------------------------------------------------------------------------------------------

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        for place, op in enumerate(node.ops):
            other = _COMPARED[type(op)]
            if self._here(node, f"{ast.unparse(node)}: {type(op).__name__} -> {other.__name__}"):
                node.ops[place] = other()
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if self._here(node, f"{ast.unparse(node)}: and <-> or"):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not | ast.USub) and self._here(node, f"{ast.unparse(node)}: without its sign"):
            return node.operand
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        other = _COUNTED.get(type(node.op))
        if other is not None and self._here(node, f"{ast.unparse(node)}: {type(node.op).__name__} -> {other.__name__}"):
            node.op = other()
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        other = _COUNTED.get(type(node.op))
        if other is not None and self._here(node, f"{ast.unparse(node)}: {type(node.op).__name__} -> {other.__name__}"):
            node.op = other()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        if isinstance(value, bool):
            if self._here(node, f"{value} -> {not value}"):
                return ast.copy_location(ast.Constant(not value), node)
        elif isinstance(value, int | float) and self._here(node, f"{value} -> {value + 1}"):
            return ast.copy_location(ast.Constant(value + 1), node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Call):
            silent = isinstance(node.value.func, ast.Attribute) and ast.unparse(node.value.func.value) in _SILENT
            if not silent and self._here(node, f"without {ast.unparse(node)}"):
                return ast.copy_location(ast.Pass(), node)
        elif isinstance(node.value, ast.Constant):
            return node  # a docstring
        self.generic_visit(node)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if isinstance(node.targets[0], ast.Attribute | ast.Subscript) and self._here(node, f"without {ast.unparse(node)}"):
            return ast.copy_location(ast.Pass(), node)
        node.value = self.visit(node.value)
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if self._here(node, f"if {ast.unparse(node.test)}: never"):
            node.test = ast.copy_location(ast.Constant(False), node.test)
        return node


def mutants_of(root: Path, path: str) -> Iterator[Mutant]:
    """Every wrong version of one module."""
    walker = _Mutator(None)
    walker.visit(ast.parse((root / path).read_text(encoding="utf-8")))
    for number, (line, what) in enumerate(walker.found):
        yield Mutant(path, number, line, " ".join(what.split()))


def tree_of(root: Path, mutant: Mutant) -> ast.Module:
    """The wrong module; its lines are those of the right one."""
    tree = ast.parse((root / mutant.path).read_text(encoding="utf-8"))
    wrong: ast.Module = ast.fix_missing_locations(_Mutator(mutant.number).visit(tree))
    return wrong
