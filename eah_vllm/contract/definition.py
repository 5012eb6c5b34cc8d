"""One class, function or assignment of vLLM's source, and what can be asked about it."""

import ast
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
TEXTS = {ast.Name: "id", ast.Attribute: "attr", ast.alias: "name", ast.Constant: "value", ast.keyword: "arg"}
"""Where a node holds a name or a string."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function; `*args` and `**kwargs` keep their stars."""

    name: str
    required: bool
    by_position: bool


@dataclass(frozen=True, slots=True)
class Definition:
    """The class, function or assignment that gives a name its meaning."""

    module: str
    node: ast.AST
    in_class: bool = False

    @property
    def is_function(self) -> bool:
        """Whether it can be called: it is a function or a method, but no property."""
        return isinstance(self.node, Function) and not any("property" in text for text in _decorators(self.node))

    @property
    def is_async(self) -> bool:
        """Whether calling it must be awaited."""
        return isinstance(self.node, ast.AsyncFunctionDef)

    def constant(self) -> str | None:
        """The string that is assigned to it; None where it is no string constant."""
        value = getattr(self.node, "value", None)
        return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None

    def code(self) -> str:
        """Its source text without comments, formatted by `ast.unparse`."""
        return ast.unparse(self.node)

    def parameters(self) -> list[Parameter]:
        """The parameters of a function, without `self` and `cls`."""
        if not isinstance(self.node, Function):
            return []
        args = self.node.args
        positional = args.posonlyargs + args.args
        num_required = len(positional) - len(args.defaults)
        listed = [Parameter(arg.arg, idx < num_required, True) for idx, arg in enumerate(positional)]
        listed = listed[1:] if self.in_class and "staticmethod" not in _decorators(self.node) else listed
        listed += [Parameter("*" + args.vararg.arg, False, False)] if args.vararg else []
        keywords = zip(args.kwonlyargs, args.kw_defaults, strict=True)
        listed += [Parameter(arg.arg, default is None, False) for arg, default in keywords]
        return listed + ([Parameter("**" + args.kwarg.arg, False, False)] if args.kwarg else [])

    def mentions(self) -> set[str]:
        """Every name, attribute, keyword, imported name and string in its text."""
        found: set[str] = set()
        todo: list[ast.AST] = [self.node]
        while todo:  # as `ast.walk`, in half its time
            node = todo.pop()
            for field in node._fields:
                value = getattr(node, field, None)
                if isinstance(value, ast.AST):
                    todo.append(value)
                elif isinstance(value, list):
                    todo += [item for item in value if isinstance(item, ast.AST)]
                elif isinstance(value, str) and field == TEXTS.get(type(node)):
                    found.add(value)
        return found


def _decorators(node: Function) -> list[str]:
    return [ast.unparse(decorator) for decorator in node.decorator_list]
