"""`eah-vllm inspect IMAGE`: write a page of what each head of a served model sees of a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eah_vllm.captioning.command import PROMPT
from eah_vllm.captioning.pictures import PictureError, read_picture
from eah_vllm.evaluation.ask.asking import Server
from eah_vllm.evaluation.ask.inspection import InspectError
from eah_vllm.inspector.ask import look
from eah_vllm.inspector.page import page_of


def _cell(text: str) -> tuple[int, int]:
    layer, colon, head = text.partition(":")
    if not (colon and layer.isdecimal() and head.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be LAYER:HEAD, as in 1:17, got {text!r}")
    return int(layer), int(head)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="eah-vllm inspect", description=__doc__)
    parser.add_argument("picture", metavar="IMAGE", help="the picture's file")
    parser.add_argument("--prompt", default=PROMPT, help=f"what is asked about it (default: {PROMPT})")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1", help="server (default %(default)s)")
    parser.add_argument("--model", required=True, help="served model name")
    parser.add_argument("--api-key", default="EMPTY")
    parser.add_argument(
        "--threshold", type=float, action="append", default=[], help="vision-sink threshold; repeatable"
    )
    parser.add_argument(
        "--relative-threshold", type=float, action="append", default=[],
        help="threshold as a multiple of 1/S for a prompt of S tokens; repeatable (default of both: the server's own)",
    )  # fmt: skip
    parser.add_argument(
        "--map", type=_cell, action="append", default=[], metavar="LAYER:HEAD",
        help="draw the map of this head too; repeatable (the source head of each layer is always drawn)",
    )  # fmt: skip
    parser.add_argument("--concurrency", type=int, default=4, help="requests in flight (default 4)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one request")
    parser.add_argument("--out", type=Path, required=True, help="the page, an HTML file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `eah-vllm inspect` and return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.concurrency < 1:
        parser.error(f"--concurrency must be 1 or more, got {args.concurrency}")
    thresholds = {"thresholds": args.threshold, "relative_thresholds": args.relative_threshold}
    server = Server(args.base_url, args.model, args.api_key, args.concurrency, timeout=args.timeout)
    try:
        picture = read_picture(args.picture)
        looked = look(server, picture, args.prompt, thresholds, args.map)
    except (PictureError, InspectError) as error:
        where = f"{args.picture}: " if isinstance(error, PictureError) else ""
        sys.stderr.write(f"eah-vllm inspect: {where}{error}\n")
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(page_of(looked, picture[0], args.prompt, Path(args.picture).name), encoding="utf-8")
    sys.stdout.write(f"{len(looked.answer['layers'])} layers, {len(looked.maps)} maps. Written to {args.out}\n")
    return 0
