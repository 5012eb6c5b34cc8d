"""A row of the tables of what we use of vLLM."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Name:
    """A name of vLLM and what we rely on. All lists are one string, as they would be written in code."""

    module: str
    name: str
    why: str
    calls: str | None = None
    """Arguments that we give it, `x` by position and `x=` by keyword; whatever else it takes must have a default."""
    overrides: str | None = None
    """The parameters of a method that ours replaces, exactly; `...` at the end when ours takes any further ones."""
    fields: str = ""
    """Attributes (also properties) that we read or set on it."""
    reads: str = ""
    """Names that its body must mention: so we know that vLLM still calls our hook, or looks at what we set."""
    closed: str = ""
    """`pattern: a b`: members that match the pattern are a and b and no others, since we override exactly these."""
    code: str = ""
    """An expression that its body must hold, as `ast.unparse` writes it: what a name alone would not tell."""
    equals: str | None = None
    """Its value, a string constant."""
    awaited: bool = False
    """It is `async def`, since we await it."""
    part: str = ""
    """The runner or platform that alone needs it: "V1", "V2", "CPU" or "GPU"."""

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module
