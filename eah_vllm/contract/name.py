"""The rows of the tables that list what we use of vLLM."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Name:
    """A name of vLLM and what we rely on. Each list is one string, written as it would be in code."""

    module: str
    name: str
    why: str
    calls: str | None = None
    """Arguments that we give it: `x` by position, `x=` by keyword. Every other parameter must have a default."""
    overrides: str | None = None
    """The exact parameters of a method that ours replaces; `...` at the end when ours takes any further ones."""
    fields: str = ""
    """Attributes, also properties, that we read or set on it."""
    reads: str = ""
    """Names that its body must mention. They show that vLLM still calls our hook, or reads what we set."""
    closed: str = ""
    """`pattern: a b` means that a and b are all the members that match the pattern, since we override exactly these."""
    code: str = ""
    """Text that its body must hold, as `ast.unparse` writes it, for what a name alone would not show."""
    equals: str | None = None
    """The string constant that must be its value."""
    awaited: bool = False
    """Whether it must be `async def`, because we await it."""
    silent: bool = False
    """Whether nothing would fail if it changed: answers would be others, or a protection would be gone, unnoticed."""
    part: str = ""
    """The only runner or platform that needs it: "V1", "V2", "CPU" or "GPU"."""

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module
