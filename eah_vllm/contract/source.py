"""Reads what vLLM's source defines, without importing it: a check must not load what this process will not use.

It finds what the text shows: classes, functions, assignments, imports from vLLM, members of a class and of its bases
in vLLM, and attributes that a method sets on `self`. It parses only the classes and functions that it is asked for.
"""

import ast
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from eah_vllm.contract.blocks import attribute, bases, block, parsed
from eah_vllm.contract.definition import Definition


class VllmSource:
    """The source files of one vLLM."""

    def __init__(self, root: Path) -> None:
        """`root` is the folder of the package `vllm`."""
        self._root = root
        self._texts: dict[str, str] = {}
        self._blocks: dict[tuple[str, str], str | None] = {}
        self._found: dict[tuple[str, str], Definition | None] = {}
        self._modules: dict[str, tuple[dict[str, ast.AST], dict[str, tuple[str, str]]]] = {}

    def has_module(self, module: str) -> bool:
        """Whether the module has a source file."""
        return self._path(module) is not None

    def find(self, module: str, qualified_name: str) -> Definition | None:
        """Find `Class.member`, `Class` or `function`, wherever vLLM defines what `module` has under that name.

        The empty name stands for the module as a whole. Return None where there is no such name.
        """
        if not qualified_name:
            return Definition(module, ast.parse(self._text(module)))
        owner, _, member = qualified_name.partition(".")
        found = self._by_text(module, owner, member) if member else None
        if found is not None:
            return found
        found = self._top_level(module, owner)
        return self.member(found, member) if found is not None and member else found

    def member(self, of: Definition, name: str) -> Definition | None:
        """Find a member of a class or of its bases, as far as these are vLLM's."""
        if not isinstance(of.node, ast.ClassDef):
            return None
        node = dict(_defined(of.node.body)).get(name) or next(_set_on_self(of.node, name), None)
        if node is not None:
            return Definition(of.module, node, True)
        inherited = (self.member(base, name) for base in self._bases(of))
        return next((found for found in inherited if found is not None), None)

    def member_names(self, of: Definition) -> set[str]:
        """Return the members of a class and its bases, without those set on `self`."""
        own = {name for name, _ in _defined(of.node.body)} if isinstance(of.node, ast.ClassDef) else set()
        return own.union(*(self.member_names(base) for base in self._bases(of)))

    def _bases(self, of: Definition) -> Iterator[Definition]:
        for base in of.node.bases if isinstance(of.node, ast.ClassDef) else ():
            name = base.value if isinstance(base, ast.Subscript) else base
            found = self._top_level(of.module, name.id) if isinstance(name, ast.Name) else None
            if found is not None:
                yield found

    def _path(self, module: str) -> Path | None:
        path = self._root.joinpath(*module.split(".")[1:])
        return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)

    def _text(self, module: str) -> str:
        if module not in self._texts:
            path = self._path(module)
            self._texts[module] = path.read_text(encoding="utf-8") if path is not None else ""
        return self._texts[module]

    def _block(self, module: str, name: str) -> str | None:
        if (module, name) not in self._blocks:
            self._blocks[module, name] = block(self._text(module), name)
        return self._blocks[module, name]

    def _by_text(self, module: str, owner: str, name: str) -> Definition | None:
        """Find a member of a class or of its bases, and parse only that; None where it takes more to find it."""
        text = self._block(module, owner)
        if text is None:
            return None
        found = [part for part in (block(text, name, indent=4), attribute(text, name)) if part is not None]
        if found:
            node = parsed(found[0]) if len(found) == 1 else None
            return Definition(module, node, True) if node is not None else None
        imported = {} if all(self._block(module, base) for base in bases(text)) else self._shown(module)[1]
        inherited = (self._by_text(*imported.get(base, (module, base)), name) for base in bases(text))
        return next((member for member in inherited if member is not None), None)

    def _top_level(self, module: str, name: str) -> Definition | None:
        if (module, name) not in self._found:
            node = parsed(self._block(module, name))
            self._found[module, name] = Definition(module, node) if node is not None else self._elsewhere(module, name)
        return self._found[module, name]

    def _elsewhere(self, module: str, name: str) -> Definition | None:
        """Find what the module assigns or imports under that name, also by `from ... import *`."""
        defined, imported = self._shown(module)
        if name in defined:
            return Definition(module, defined[name])
        if name in imported:
            return self._top_level(*imported[name])
        stars = (self._top_level(other, name) for other, imported_name in imported.values() if imported_name == "*")
        return next((found for found in stars if found is not None), None)

    def _shown(self, module: str) -> tuple[dict[str, ast.AST], dict[str, tuple[str, str]]]:
        """Return what the module defines, and what it imports from vLLM."""
        if module not in self._modules:
            body, path = ast.parse(self._text(module)).body, self._path(module)
            package = module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]
            self._modules[module] = dict(_defined(body)), dict(_imported(body, package))
        return self._modules[module]


def installed() -> VllmSource:
    """Return the source of the vLLM that `import vllm` would load.

    Raises:
        ModuleNotFoundError: no vLLM is installed.
    """
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("vLLM is not installed", name="vllm")
    return VllmSource(Path(next(iter(spec.submodule_search_locations))))


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the statements of a module or class, also those under `if` and `try`."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.ExceptHandler):
            for part in ("body", "handlers", "orelse", "finalbody"):
                yield from _statements(getattr(statement, part, ()))


def _defined(body: Iterable[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    for statement in _statements(body):
        match statement:
            case ast.FunctionDef(decorator_list=[ast.Attribute(attr="setter")]):
                pass  # a setter has the name of its property, and the getter shows how that is read
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, statement
            case ast.Assign(targets=targets):
                yield from ((target.id, statement) for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, statement


def _imported(body: Iterable[ast.AST], package: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield, for each import from vLLM, the name here, and the module and name there."""
    for statement in _statements(body):
        if isinstance(statement, ast.ImportFrom):
            above = package.rsplit(".", statement.level - 1)[0] if statement.level else ""
            module = ".".join(part for part in (above, statement.module) if part)
            if module.split(".")[0] == "vllm":
                for alias in statement.names:
                    key = f"* of {module}" if alias.name == "*" else alias.asname or alias.name
                    yield key, (module, alias.name)


def _set_on_self(node: ast.ClassDef, name: str) -> Iterator[ast.AST]:
    for inner in ast.walk(node):
        match inner:
            case ast.Attribute(value=ast.Name(id="self"), attr=attribute, ctx=ast.Store()) if attribute == name:
                yield inner
