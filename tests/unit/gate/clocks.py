"""Finds assertions on elapsed time: those that a busy machine makes fail.

A name is a time if what it was given comes from a clock, or from an attribute that the project uses for durations of
real work. An `assert` in which a time is compared by size is reported, wherever in its expression that is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "time_ns", "getrusage"}
# Of answers, reports and finished programs.
DURATIONS = {"seconds", "ttft_s", "total_s", "took_s", "elapsed_s", "durationSeconds", "ttftColdSeconds"}
DURATIONS |= {"ttftWarmSeconds", "ttftRouterSeconds", "speedup", "staleSeconds"}


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    text: str


def in_texts(texts: Mapping[str, str]) -> list[Finding]:
    """The assertions on time in these files, which may call each other's functions."""
    trees = {name: ast.parse(text) for name, text in texts.items()}
    returning = _returning([scope for tree in trees.values() for scope in _scopes(tree)])
    found: dict[tuple[str, int], Finding] = {}
    for name, tree in trees.items():
        lines = texts[name].splitlines()
        for scope in _scopes(tree):
            times = returning | _times(scope, returning)
            for node in ast.walk(scope):
                if isinstance(node, ast.Assert) and any(_is_time(one, times) for one in _by_size(node.test)):
                    found[name, node.lineno] = Finding(name, node.lineno, lines[node.lineno - 1].strip())
    return [found[place] for place in sorted(found)]


def _scopes(tree: ast.Module) -> list[ast.AST]:
    return [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))]


def _returning(scopes: list[ast.AST]) -> set[str]:
    """The names of functions that are said to return a number, and return a time."""
    known: set[str] = set()
    while True:
        more = {
            f"{scope.name}()"
            for scope in scopes
            if isinstance(scope, ast.FunctionDef)
            and isinstance(scope.returns, ast.Name)
            and scope.returns.id == "float"
            for node in ast.walk(scope)
            if isinstance(node, ast.Return) and node.value and _is_time(node.value, known | _times(scope, known))
        } - known
        if not more:
            return known
        known |= more


def _by_size(test: ast.expr) -> Iterator[ast.Compare]:
    sizes = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
    for node in ast.walk(test):
        if isinstance(node, ast.Compare) and any(isinstance(op, sizes) for op in node.ops):
            yield node


def _times(scope: ast.AST, returning: set[str]) -> set[str]:
    """The names of a scope that hold times: found again and again until no more come, as one is made from another."""
    times: set[str] = set()
    while True:
        more = {name for name, value in _given(scope) if _is_time(value, times | returning)} - times
        if not more:
            return times
        times |= more


def _given(scope: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(scope):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            targets, value = [node.target], node.value
        for target in targets:
            for one, its in _pairs(target, value):
                for name in ast.walk(one):
                    if isinstance(name, ast.Name):
                        yield name.id, its


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """What each of several names is given, where both sides are written out."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _is_time(expression: ast.expr, times: set[str]) -> bool:
    for node in ast.walk(expression):
        if isinstance(node, ast.Name) and node.id in times:
            return True
        if isinstance(node, ast.Call) and f"{_called(node)}()" in times:
            return True
        if isinstance(node, ast.Attribute) and (node.attr in CLOCKS or node.attr in DURATIONS):
            return True
        if isinstance(node, ast.Attribute) and node.attr == "time" and isinstance(node.value, ast.Name):
            if node.value.id == "time":
                return True
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value in DURATIONS:
            return True
        if isinstance(node, ast.Name) and node.id in CLOCKS:
            return True
    return False


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def gate_files() -> dict[str, str]:
    """What the gate runs, and what it is made of: {path: text}."""
    tests = Path(__file__).resolve().parents[2]
    layers = ("unit", "process", "chart", "engine", "cluster", "faultfs")
    return {str(path.relative_to(tests)): path.read_text() for one in layers for path in (tests / one).rglob("*.py")}
