"""Every sentence with which a hook can end badly, and what it says to do: read out of the checks' source.

    python docs/site/sentences.py > docs/sentences.md

They stand under the ids of their checks. A part that is filled in when the check runs (a name, a figure) is shown as
an ellipsis.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from llmd_storage_hooks.core.catalogue import CHECKS

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / "hooks" / "src" / "llmd_storage_hooks"
GAP = "…"
_GOOD = ("Verdict.PASS", "Verdict.SKIPPED")
# The words that explain a cold cache or a pod that does not start are tables of (cause, remedy).
CAUSES = {
    "core/kube/volume_errors.py": "Provisioners, kubelets and mount programs",
    "probe/checks/wording.py": "Errors of the filesystem",
    "proof/checks/pods.py": "Why a pod is not ready",
    "proof/checks/diagnosis.py": "Why nothing was stored, or nothing read",
}
# Where a check has its remedy from one of these.
_BELOW = "see [what it quotes](#what-the-sentences-quote)"
_HEAD = """# Every sentence of the hooks
Made from the checks' source by `make generate`; each under the id that the reports show with it. An ellipsis stands for
a name or a figure. What the words mean, and what to do where the sentence alone is not enough:
[troubleshooting](troubleshooting.md). How to override a check: [hooks](hooks.md).
"""


@dataclass(frozen=True)
class Scope:
    """A function, or a whole file. given: by parameter, the texts of one of the function's calls."""

    tree: ast.AST
    given: Mapping[str, list[str]] = field(default_factory=dict)


class Module:
    """One source file, whose expressions are turned into the texts that they can give."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.name = path.parent.name if path.stem == "__init__" else path.stem
        self.functions = {f.name: f for f in ast.walk(self.tree) if isinstance(f, ast.FunctionDef)}

    def texts(self, node: ast.expr | None, scope: Scope, deep: int = 3) -> list[str]:
        """All texts that an expression can give, each with ellipses for what only a run knows."""
        found: list[str] = []
        match node if deep else None:
            case ast.Constant(value=str(text)):
                found = [text]
            case ast.JoinedStr(values=parts):
                # What a function is given as words of its sentence is part of the sentence.
                each = [[str(p.value)] if isinstance(p, ast.Constant) else _words(p, scope) for p in parts]
                found = ["".join(texts) for texts in itertools.product(*each)]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                found = [a + b for a in self.texts(left, scope, deep) for b in self.texts(right, scope, deep)]
            case ast.IfExp(body=body, orelse=other):
                found = [*self.texts(body, scope, deep), *self.texts(other, scope, deep)]
            case ast.BoolOp(op=ast.Or(), values=values):
                found = [text for value in values for text in self.texts(value, scope, deep)]
            case ast.Name(id=name):
                values = reaching(name, node, scope.tree) or reaching(name, None, self.tree)
                found = scope.given.get(name) or [t for v in values for t in self.texts(v, scope, deep - 1)]
            case ast.Call(func=ast.Attribute(value=inner, attr="rstrip")):
                found = self.texts(inner, scope, deep)
            case ast.Call(func=ast.Name(id=name), args=args) if name in self.functions:
                given = [t for arg in args for t in self.texts(arg, scope, deep - 1) if len(t) > len(GAP)]
                found = [*given, *self._returned(name, deep)]
        return list(dict.fromkeys(found)) or [GAP]

    def _returned(self, name: str, deep: int) -> list[str]:
        scope = Scope(self.functions[name])
        returns = [r.value for r in _within(scope.tree) if isinstance(r, ast.Return)]
        return [t for value in returns for t in self.texts(value, scope, deep - 1) if len(t) > len(GAP)]

    def scopes(self, function: str, deep: int = 3) -> list[Scope]:
        """The function once for each of its calls, with what that one gives it."""
        tree, found = self.functions[function], []
        names = [a.arg for a in tree.args.args]
        for module, caller, call in calls(self, function) if deep else ():
            words = dict(zip(names, call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
            for scope in module.scopes(caller, deep - 1):
                given = {name: module.texts(word, scope) for name, word in words.items()}
                found.append(Scope(tree, {name: texts for name, texts in given.items() if texts != [GAP]}))
        return found or [Scope(tree)]

    def findings(self) -> Iterator[tuple[str, str, str]]:
        """(id, sentence, remedy) of every Finding that is not a pass."""
        for name, tree in self.functions.items():
            made = [c for c in _within(tree) if isinstance(c, ast.Call) and _called(c) == "Finding"]
            bad = [c for c in made if len(c.args) > 2 and ast.unparse(c.args[1]) not in _GOOD]
            for scope, call in itertools.product(self.scopes(name) if bad else (), bad):
                remedies = self.texts(call.args[3], scope) if len(call.args) > 3 else []
                remedy = " / ".join(r for r in remedies if r not in ("", GAP))
                for check_id, sentence in itertools.product(*(self.texts(a, scope) for a in call.args[:3:2])):
                    yield check_id, sentence, remedy

    def causes(self) -> Iterator[tuple[str, str]]:
        """(cause, remedy) of every entry of a table: a pair of texts, or a word of Kubernetes or errno and a text."""
        whole = Scope(self.tree)
        for node in _within(self.tree):
            match node:
                case ast.Tuple(elts=[cause, remedy]):
                    said = next((r for r in self.texts(remedy, whole) if r != GAP), "")
                    yield from ((c, said) for c in self.texts(cause, whole) if len(c) > 20 and " " in c)
                case ast.Dict(keys=keys, values=values):
                    for key, value in zip(keys, values, strict=True):
                        word = key.attr if isinstance(key, ast.Attribute) else self.texts(key, whole)[0]
                        yield from ((word, r) for r in self.texts(value, whole) if " " in r)


@cache
def modules() -> tuple[Module, ...]:
    return tuple(Module(path) for path in sorted(HOOKS.rglob("*.py")))


def calls(owner: Module, function: str) -> Iterator[tuple[Module, str, ast.Call]]:
    """(module, its function, call) for each call: by name in its own module or where imported, else as owner.name."""
    for module in modules():
        imports = (n for n in module.tree.body if isinstance(n, ast.ImportFrom) and n.module)
        named = module.tree is owner.tree or any(
            f".{n.module}".endswith(f".{owner.name}") and function in [a.name for a in n.names] for n in imports
        )
        wanted = {f"{owner.name}.{function}", *([function] if named else [])}
        for name, caller in module.functions.items():
            for call in _within(caller):
                if isinstance(call, ast.Call) and _called(call) in wanted and name != function:
                    yield module, name, call


def reaching(name: str, use: ast.AST | None, tree: ast.AST) -> list[ast.expr]:
    """The expressions that a name may stand for where it is used; None: all that it is ever given."""
    bound = [n for n in _within(tree) if isinstance(n, ast.Assign) and _binds(n, name)]
    if use is not None:
        bound = _before(name, use, getattr(tree, "body", [])) or bound
    return [value for assign in bound for value in _values(assign, name)]


def _before(name: str, use: ast.AST, block: list[ast.stmt]) -> list[ast.Assign]:
    """Assignments of a block that the use may see: the last one before it, and those in branches after that."""
    found: list[ast.Assign] = []
    for statement in block:
        if use in _within(statement):
            parts = (getattr(statement, part, []) for part in ("body", "orelse", "finalbody", "handlers"))
            branch = next((b for b in parts if isinstance(b, list) and any(use in _within(s) for s in b)), [])
            return _before(name, use, branch) or found
        here = [n for n in _within(statement) if isinstance(n, ast.Assign) and _binds(n, name)]
        found = here if statement in here else [*found, *here]
    return found


def _words(part: ast.expr, scope: Scope) -> list[str]:
    """What is put into an f-string: the words that a call gives, else an ellipsis."""
    inner = part.value if isinstance(part, ast.FormattedValue) else part
    return scope.given.get(inner.id, [GAP]) if isinstance(inner, ast.Name) else [GAP]


def _binds(assign: ast.Assign, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for target in assign.targets for n in ast.walk(target))


@cache
def _within(node: ast.AST) -> dict[ast.AST, None]:
    """All nodes below one and itself, in their order."""
    return dict.fromkeys(ast.walk(node))


@cache
def _called(call: ast.Call) -> str:
    return ast.unparse(call.func)


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


def sentences() -> dict[str, list[tuple[str, str]]]:
    """By id, as the catalogue of checks has it and in its order: its sentences with remedies."""
    found: dict[str, list[tuple[str, str]]] = {check.id: [] for check in CHECKS}
    for module in modules():
        for check_id, sentence, remedy in module.findings():
            told = _plain(sentence), _plain(remedy)
            if re.search(r"\w", told[0]):
                known = next((k for k in (check_id, *found) if k in found and _covers(k, check_id)), None)
                if known:
                    found[known].append(told)
    return {check_id: list(dict.fromkeys(told)) for check_id, told in found.items()}


def _covers(known: str, check_id: str) -> bool:
    """Whether an id of the catalogue, in which <...> stands for a name, is meant."""
    return re.fullmatch(_pattern(re.sub(r"<[^>]+>", GAP, known)), check_id) is not None


def _plain(text: str) -> str:
    """One line. What the cluster says is kept as patterns in the source, and shown as words."""
    if "|" in text or "\\S" in text:
        text = re.sub(r"\.\*|\\S\*", GAP, text).replace("|", " or ")
    return re.sub(f"{GAP}({GAP}| {GAP})+", GAP, " ".join(text.split()))


def findable(check_id: str, sentence: str, page: str) -> bool:
    """Whether a page as this has the sentence, as it was said in a run, under the check's id."""
    for section in page.split("\n## ")[1:]:
        heading = section.partition("\n")[0].strip("`")
        if not _covers(heading, check_id):
            continue
        cells = re.findall(r"^\| (.+?) \| .* \|$", section, re.MULTILINE)
        told = (c.replace("\\|", "|").replace("\\*", "*").replace("&lt;", "<") for c in cells)
        if any(re.fullmatch(_pattern(one), _plain(sentence), re.DOTALL) for one in told):
            return True
    return False


def _pattern(text: str) -> str:
    return ".*".join(map(re.escape, text.split(GAP)))


def markdown() -> str:
    asks = {check.id: check.asks for check in CHECKS}
    lines = [_HEAD]
    for check_id, told in sentences().items():
        lines += [f"## `{check_id}`", asks[check_id], "", *_table("it says", told)]
    lines += ["## What the sentences quote", ""]
    for path, title in CAUSES.items():
        causes = dict.fromkeys((_plain(cause), _plain(remedy)) for cause, remedy in Module(HOOKS / path).causes())
        lines += [f"### {title}", *_table("it finds", list(causes))]
    return "\n".join(lines)


def _table(head: str, told: list[tuple[str, str]]) -> list[str]:
    rows = [f"| {_cell(s)} | {_cell(r) or _BELOW} |" for s, r in told]
    return [f"| {head} | what to do |", "| --- | --- |", *rows, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    print(markdown(), end="")
