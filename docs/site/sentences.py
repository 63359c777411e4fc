"""Every sentence with which a hook can end badly, and what it says to do: read out of the checks' source.

    python docs/site/sentences.py > docs/sentences.md

A part that is filled in when the check runs (a name, a figure) is shown as an ellipsis.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / "hooks" / "src" / "llmd_storage_hooks"
GAP = "…"
_GOOD = ("PASS", "SKIPPED")
# The words that explain a cold cache or a pod that does not start are tables of (cause, remedy).
CAUSES = ("proof/checks/diagnosis.py", "core/kube/volume_errors.py")
OTHERS = ("claim/checks.py", "probe/job/checks.py", "probe/run.py", "core/kube/volume_errors.py")
_HEAD = """# Every sentence of the hooks
Made from the checks' source by `make generate`. An ellipsis stands for a name or a figure. What the words mean, and
what to do where the sentence alone is not enough: [troubleshooting](troubleshooting.md). Every check, and how to
override it: [hooks](hooks.md).
"""


class Module:
    """One source file, whose expressions are turned into the texts that they can give."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.title = (ast.get_docstring(self.tree) or path.stem).splitlines()[0].rstrip(".")
        self._functions = {f.name: f for f in ast.walk(self.tree) if isinstance(f, ast.FunctionDef)}

    def texts(self, node: ast.expr | None, scope: ast.AST, deep: int = 3) -> list[str]:
        """All texts that an expression can give, each with ellipses for what only a run knows."""
        found: list[str] = []
        match node if deep else None:
            case ast.Constant(value=str(text)):
                found = [text]
            case ast.JoinedStr(values=parts):
                found = ["".join(str(p.value) if isinstance(p, ast.Constant) else GAP for p in parts)]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                found = [a + b for a in self.texts(left, scope, deep) for b in self.texts(right, scope, deep)]
            case ast.IfExp(body=body, orelse=other):
                found = [*self.texts(body, scope, deep), *self.texts(other, scope, deep)]
            case ast.Name(id=name):
                found = self._assigned(name, scope, deep)
            case ast.Call(func=ast.Name(id=name), args=args) if name in self._functions:
                given = [t for arg in args for t in self.texts(arg, scope, deep - 1) if len(t) > len(GAP)]
                found = [*given, *self._returned(name, deep)]
        return found or [GAP]

    def _assigned(self, name: str, scope: ast.AST, deep: int) -> list[str]:
        found: list[str] = []
        for place in (scope, self.tree):
            for a in ast.walk(place):
                if isinstance(a, ast.Assign) and any(_binds(target, name) for target in a.targets):
                    found += [t for value in _values(a, name) for t in self.texts(value, scope, deep - 1)]
            if found:
                break
        return found

    def _returned(self, name: str, deep: int) -> list[str]:
        function = self._functions[name]
        returns = [r.value for r in ast.walk(function) if isinstance(r, ast.Return)]
        return [t for value in returns for t in self.texts(value, function, deep - 1) if len(t) > len(GAP)]

    def findings(self) -> Iterator[tuple[str, str]]:
        """(sentence, remedy) of every Finding that is not a pass."""
        for scope in ast.walk(self.tree):
            if not isinstance(scope, ast.FunctionDef):
                continue
            for call in ast.walk(scope):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Finding"):
                    continue
                verdict = ast.unparse(call.args[1])
                if len(call.args) < 3 or any(verdict == f"Verdict.{good}" for good in _GOOD):
                    continue
                remedies = self.texts(call.args[3], scope) if len(call.args) > 3 else [""]
                for sentence in self.texts(call.args[2], scope):
                    yield sentence, " / ".join(dict.fromkeys(r for r in remedies if r != GAP))

    def causes(self) -> Iterator[tuple[str, str]]:
        """(cause, remedy) of every pair of texts: entries of tables, and what functions return."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Tuple) and len(node.elts) == 2:
                for cause in self.texts(node.elts[0], self.tree):
                    remedy = [r for r in self.texts(node.elts[1], self.tree) if r != GAP]
                    if len(cause) > 20 and " " in cause:
                        yield cause, remedy[0] if remedy else ""


def _binds(target: ast.expr, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(target))


def _values(assign: ast.Assign, name: str) -> list[ast.expr]:
    """What a plain assignment, or one of tuples, gives to the name."""
    target = assign.targets[0]
    if isinstance(target, ast.Name):
        return [assign.value]
    whole = [assign.value.body, assign.value.orelse] if isinstance(assign.value, ast.IfExp) else [assign.value]
    if not isinstance(target, ast.Tuple):
        return []
    at = [i for i, e in enumerate(target.elts) if isinstance(e, ast.Name) and e.id == name]
    return [w.elts[i] for w in whole for i in at if isinstance(w, ast.Tuple) and i < len(w.elts)]


def sentences() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(what the module looks at, its sentences with remedies), in the order of the source."""
    for path in sorted([*HOOKS.glob("*/checks/*.py"), *(HOOKS / one for one in OTHERS)]):
        module = Module(path)
        found = list(module.findings())
        if path.relative_to(HOOKS).as_posix() in CAUSES:
            found += module.causes()
        told = [(_plain(s), _plain(r)) for s, r in found]
        told = [(s, r) for s, r in dict.fromkeys(told) if len(re.sub(r"\W", "", s)) > 4]
        if told:
            yield module.title, told


def _plain(text: str) -> str:
    """One line. What the cluster says is kept as patterns in the source, and shown as words."""
    if "|" in text or "\\S" in text:
        text = re.sub(r"\.\*|\\S\*", GAP, text).replace("|", " or ")
    return re.sub(f"{GAP}({GAP}| {GAP})+", GAP, " ".join(text.split()))


def findable(sentence: str, page: str) -> bool:
    """Whether a page with such tables has this sentence, as it was said in a run."""
    cells = re.findall(r"^\| (.+?) \| .* \|$", page, re.MULTILINE)
    told = (c.replace("\\*", "*").replace("&lt;", "<").split(GAP) for c in cells)
    return any(re.fullmatch(".*".join(map(re.escape, parts)), _plain(sentence), re.DOTALL) for parts in told)


def markdown() -> str:
    lines = [_HEAD]
    for title, told in sentences():
        lines += [f"## {title}", "| it says | what to do |", "| --- | --- |"]
        lines += [f"| {_cell(s)} | {_cell(r) or 'see [troubleshooting](troubleshooting.md)'} |" for s, r in told]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    print(markdown(), end="")
