"""What a docstring documents is there: every parameter, every attribute, every error that is raised."""

from __future__ import annotations

import ast
import builtins
import re

from tests.airflow_environment import REPOSITORY

PACKAGE = REPOSITORY / "plugins" / "cp_ops"
MODULES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
FIELD = re.compile(r"^\s*:(param|raises|ivar|cvar) (\w+):", re.MULTILINE)


def known_errors():
    """Builtin exceptions, and every class that some module of the package defines or imports."""
    names = {name for name, value in vars(builtins).items() if isinstance(value, type)}
    for module in MODULES.values():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.ImportFrom):
                names |= {alias.asname or alias.name for alias in node.names}
    return names


def arguments(function):
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {argument.arg for argument in every if argument is not None}


def set_on_self(function):
    """The attributes that a method gives its object."""
    return {
        part.attr
        for part in ast.walk(function)
        if isinstance(part, ast.Attribute)
        and isinstance(part.ctx, ast.Store)
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
    }


def members(node):
    """A class's fields, and what its constructor takes and sets."""
    names = set()
    for part in node.body:
        if isinstance(part, ast.AnnAssign):
            names.add(part.target.id)
        elif isinstance(part, ast.Assign):
            names |= {target.id for target in part.targets if isinstance(target, ast.Name)}
        elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
            names |= arguments(part) | set_on_self(part)
    return names


def untruths():
    errors = known_errors()
    for path, module in MODULES.items():
        for node in ast.walk(module):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            own = members(node) if isinstance(node, ast.ClassDef) else arguments(node)
            for field, name in FIELD.findall(ast.get_docstring(node, clean=False) or ""):
                if name not in (errors if field == "raises" else own):
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}: {field} {name}"


def test_what_a_docstring_documents_is_there():
    assert FIELD.search("    :param tx: an open transaction")
    assert list(untruths()) == []
