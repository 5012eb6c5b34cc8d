"""Limits of the HTTP server: `--additional-config '{"eah_http": {...}}'`."""

from argparse import Namespace
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

SECTION = "eah_http"
ImageFormat = Literal["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP"]
"""Formats of pictures, by Pillow's names."""


def _network(text: str) -> str:
    ip_network(text)
    return text


class HTTPLimits(BaseModel):
    """What the server takes from a client, and where it fetches pictures. SECURITY.md says why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: int = Field(32 << 20, gt=0, description="largest request body")
    body_items: int = Field(500_000, gt=0, description="commas and brackets in a request body, all in all")
    image_pixels: int = Field(50_000_000, gt=0, description="largest picture, width times height")
    request_pixels: int = Field(100_000_000, gt=0, description="all pictures of one request together")
    request_pictures: int = Field(256, gt=0, description="pictures of one request; long ones count several times")
    image_aspect: float = Field(100, ge=1, description="longer side of a picture over its shorter side, at most")
    image_formats: tuple[ImageFormat, ...] = Field(
        ("JPEG", "PNG", "WEBP", "GIF", "BMP"), min_length=1, description="formats that are read"
    )
    media_bytes: int = Field(16 << 20, gt=0, description="largest file that is read from a URL")
    private_networks: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        (), description="networks that may be fetched from although they are not public, such as 10.1.0.0/16"
    )
    client_timeout: float = Field(60, gt=0, description="seconds that a client may take to send its request")
    hardening: bool = Field(True, strict=True, description="false: none of what docs/hardening.md lists is installed")


def read_limits(args: Namespace) -> HTTPLimits:
    """Return the limits that a server was started with; refuse arguments with which clients could get around them.

    Args:
        args: the command line as vLLM has parsed it.

    Raises:
        ValueError: a field is unknown, a value is bad, or an argument is not allowed; the message names it.
    """
    additional: Any = getattr(args, "additional_config", None)
    fields = additional.get(SECTION, {}) if isinstance(additional, dict) else {}
    where = f"--additional-config {SECTION}"
    if not isinstance(fields, dict):
        raise ValueError(f"{where} must be an object, got {fields!r}")
    if fields.get("hardening") is False and len(fields) > 1:
        other = next(name for name in fields if name != "hardening")
        raise ValueError(f"{where}.{other}: has no effect with hardening false; leave one of them out")
    try:
        limits = HTTPLimits(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        known = f"; known are {', '.join(HTTPLimits.model_fields)}" if first["type"] == "extra_forbidden" else ""
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}.{field}: {message}, got {first['input']!r}{known}") from None
    if limits.hardening and getattr(args, "enable_prompt_embeds", False):
        raise ValueError(
            "--enable-prompt-embeds reads pickled tensors out of HTTP requests; leave it off (LLM can use it)"
        )
    return limits
