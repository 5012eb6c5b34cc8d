"""The refusal of this command."""


class ConvertError(ValueError):
    """The source is not what the command converts; the message names the file, field or tensor."""
