"""`eah-vllm caption PICTURES...`: caption many pictures through a server, one JSON line each, resumable."""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from eah_vllm.captioning.captions import CaptionFile, bad_line, made_line, summary
from eah_vllm.captioning.pictures import PictureError, find_pictures, read_picture, shortened
from eah_vllm.evaluation.ask.answers import RunError
from eah_vllm.evaluation.ask.asking import AskError, RefusedError, Server, complete, with_each
from eah_vllm.evaluation.ask.parsing import parse_setting
from eah_vllm.evaluation.ask.setting import OFF, Setting, SettingError

PROMPT = "Please describe this image in detail."
OF_THE_PICTURE = (400, 413, 422)
"""HTTP statuses with which a server refuses one picture, after it has shown that it captions another one. Any other
status, such as that of a wrong key, ends the command."""
PROBE_SIDE = 336
NAMED = 20
DONE, STOPPED, SKIPPED = 0, 1, 3
"""Exit statuses: every picture has a caption; the run has not ended; it has, and some pictures have no caption or one
that was not checked. (2 is a wrong command line.)"""
EPILOG = (
    "Exit status: 0, every picture has a caption; 1, it stopped early, and the same command goes on; 2, a wrong "
    "command line; 3, it is done, and pictures were skipped or captions were not checked, as the summary says."
)


def caption_all(server: Server, setting: Setting, paths: Sequence[str], prompt: str, max_tokens: int,
                captions: CaptionFile) -> None:  # fmt: skip
    """Ask for the captions that are not in the file, several at a time; a bad picture gets a line that says why.

    Raises:
        AskError: the server stays away, refuses what is not a matter of the picture, or ignores a field.
    """
    open_ = [path for path in paths if path not in captions.lines]
    with tqdm(desc="captions", total=len(paths), initial=len(paths) - len(open_), unit="pictures") as bar:
        if open_:
            asyncio.run(_caption_open(server, setting, iter(open_), prompt, max_tokens, captions, bar))


async def _caption_open(
    server: Server, setting: Setting, todo: Iterable[str], prompt: str, max_tokens: int, captions: CaptionFile, bar: Any
) -> None:
    body = setting.extra_body(server.end_token_id)

    async def ask(picture: tuple[bytes, str], name: str) -> Any:
        reply = await complete(
            client, server, picture, prompt, name=name, max_tokens=max_tokens, model=server.model, extra_body=body
        )
        _check(reply, setting, name)
        return reply

    async def line_of(path: str) -> dict[str, Any]:
        try:
            return made_line(path, await ask(read_picture(path), path))
        except PictureError as error:
            return bad_line(path, str(error))
        except RefusedError as error:
            if error.status not in OF_THE_PICTURE:
                raise
            return bad_line(path, str(error.__cause__))

    async with server.client() as client:
        # What is refused for another reason than the picture, such as an option, is refused for this one too.
        await ask(_probe(), "a grey picture, which is asked about first")

        async def caption(path: str) -> None:
            captions.add(await line_of(path))
            bar.update()

        await with_each(todo, server.concurrency, caption)


def _probe() -> tuple[bytes, str]:
    buffer = io.BytesIO()
    Image.new("RGB", (PROBE_SIDE, PROBE_SIDE), "grey").save(buffer, format="PNG")
    return buffer.getvalue(), "image/png"


def _check(reply: Any, setting: Setting, path: str) -> None:
    if not getattr(reply, "choices", None) or reply.choices[0].message.content is None:
        raise AskError(f"{path}: the reply has no text")
    more = reply.model_extra or {}
    for name, asked in (("eah", setting.eah is not None), ("verify", setting.verify is not None)):
        if asked and more.get(name) is None:
            raise AskError(f"the server ignores the field `{name}`: it is not eah-vllm, or EAH is disabled there")


def _setting(eah: str | None, verify: str | None) -> Setting:
    parts = [OFF if eah is None else eah, *([] if verify is None else ["verify", verify])]
    return parse_setting(",".join(filter(None, parts)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="eah-vllm caption", description=__doc__, epilog=EPILOG)
    parser.add_argument("pictures", nargs="+", metavar="PICTURES", help="files, folders, patterns, or - for a list")
    parser.add_argument(
        "--base-url", required=True, help="OpenAI-compatible server, for example http://127.0.0.1:8000/v1"
    )
    parser.add_argument("--model", required=True, help="served model name")
    parser.add_argument("--api-key", default="EMPTY")
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines, one a picture")
    parser.add_argument(
        "--eah", nargs="?", const="on", metavar="OPTIONS", help="EAH on; options: layer=1,threshold=0.002"
    )
    parser.add_argument(
        "--verify", nargs="?", const="", metavar="OPTIONS",
        help="check what each caption names; options: action=rewrite,threshold=0.3",
    )  # fmt: skip
    parser.add_argument("--prompt", default=PROMPT, help=f"default: {PROMPT}")
    parser.add_argument("--max-tokens", type=int, default=256, help="tokens of a caption (default 256)")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight (default 8)")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for a server that is away")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one caption")
    parser.add_argument(
        "--retry-skipped", action="store_true", help="ask again about pictures that an earlier run skipped"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `eah-vllm caption` and return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.concurrency < 1 or args.max_tokens < 1:
        parser.error(f"--concurrency and --max-tokens must be 1 or more, got {args.concurrency} and {args.max_tokens}")
    try:
        setting = _setting(args.eah, args.verify)
    except SettingError as error:
        parser.error(f"--eah, --verify: {error} (put the pictures first)")
    paths = find_pictures(args.pictures, sys.stdin)
    server = Server(args.base_url, args.model, args.api_key, args.concurrency, args.patience, args.timeout)
    run = {"model": args.model, "setting": setting.name, "prompt": args.prompt, "max_tokens": args.max_tokens}
    try:
        captions = CaptionFile(args.out, run)
        try:
            if args.retry_skipped:
                captions.forget_errors()
            caption_all(server, setting, paths, args.prompt, args.max_tokens, captions)
        finally:
            captions.close()
    except (RunError, AskError, SettingError) as error:
        sys.stderr.write(f"eah-vllm caption: {error}\n")
        return STOPPED
    return _tell(paths, captions)


def _tell(paths: Sequence[str], captions: CaptionFile) -> int:
    """Write the summary of the pictures of this command to stderr, and return the exit status."""
    lines = [captions.lines[path] for path in paths]
    counts = summary(lines)
    told = f"{len(paths)} pictures: {counts['captions']} captions, {counts['skipped']} skipped"
    told += "".join(f", {counts[name]} {name}" for name in ("cut", "changed", "unchecked") if counts[name])
    sys.stderr.write(f"{told}. Written to {captions.path}\n")
    bad = [f"{line['path']} ({line['error']})" for line in lines if line["error"] is not None]
    if bad:
        sys.stderr.write(f"skipped: {shortened(bad, NAMED)}\n")
    return SKIPPED if counts["skipped"] or counts["unchecked"] else DONE


if __name__ == "__main__":
    sys.exit(main())
