"""`python -m eah_vllm.scenes train|evaluate|draw`: make, measure and look at the built-in model and its world."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from eah_vllm.scenes import MODEL_PATH

_LOG = logging.getLogger(__name__)


def _train(args: argparse.Namespace) -> int:
    import torch

    from eah_vllm.scenes.model import ModelSize
    from eah_vllm.scenes.smoke import smoke_test
    from eah_vllm.scenes.training import Recipe, Trainer

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.smoke:
        smoke_test(args.out)
        return 0
    if args.out is None:
        args.usage_error("--out is required")
    if (args.out / "training.json").exists():
        _LOG.info("%s holds a finished model; choose another folder to train anew", args.out)
        return 0
    size = ModelSize() if args.layers is None else ModelSize(layers=args.layers)
    Trainer(Recipe(size, seed=args.seed), args.out, args.workers).run()
    _LOG.info("checkpoint written to %s", args.out)
    return 0


def _draw(args: argparse.Namespace) -> int:
    from eah_vllm.scenes.world import make_scene

    scene = make_scene(args.seed)
    scene.pil().save(args.out)
    for thing in scene.objects:
        _LOG.info("%s %s %s", thing.colour, thing.name, thing.position)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from eah_vllm.scenes.evaluate import OFF, control_settings, eah_setting, evaluate, table
    from eah_vllm.scenes.world import split_scenes

    settings = [OFF]
    if not args.off_only:
        settings.append(eah_setting(args.layer, args.relative_threshold))
    if args.controls:
        settings += control_settings(args.layer, args.relative_threshold)
    scenes = split_scenes(args.split, args.scenes)
    rows = evaluate(args.model, scenes, settings)
    sys.stdout.write(table(rows) + "\n")
    if args.json:
        result = {"model": args.model, "split": args.split, "seeds": [s.seed for s in scenes], "rows": rows}
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Read the command line, run the command, and return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m eah_vllm.scenes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train the built-in model; run again to go on after an interruption")
    train.add_argument("--out", type=Path, help="folder of the checkpoint (not needed for --smoke)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--layers", type=int, help="decoder layers (default: as many as the built-in model has)")
    train.add_argument("--threads", type=int, help="torch threads (default: torch's own choice)")
    train.add_argument("--workers", type=int, default=1, help="processes that render scenes ahead")
    train.add_argument(
        "--smoke", action="store_true", help="a tiny run that only proves the code, in under two minutes"
    )
    train.set_defaults(run=_train, usage_error=train.error)
    evaluate = commands.add_parser("evaluate", help="measure a model on unseen scenes through vLLM, EAH off and on")
    evaluate.add_argument("model", nargs="?", default=str(MODEL_PATH), help="checkpoint (default: the built-in model)")
    evaluate.add_argument("--scenes", type=int, default=400, help="how many scenes")
    evaluate.add_argument("--split", choices=["val", "test"], default="test")
    evaluate.add_argument("--layer", type=int, help="EAH layer (default: the model's own)")
    evaluate.add_argument("--relative-threshold", type=float, help="vision-sink threshold times prompt length")
    evaluate.add_argument("--off-only", action="store_true", help="do not switch EAH on")
    evaluate.add_argument(
        "--controls", action="store_true", help="also random head, sparsest head, earlier end of text"
    )
    evaluate.add_argument("--json", type=Path, help="write scores and captions to this file")
    evaluate.set_defaults(run=_evaluate)
    draw = commands.add_parser("draw", help="draw one scene")
    draw.add_argument("--seed", type=int, required=True)
    draw.add_argument("--out", type=Path, required=True, help="picture file, for example scene.png")
    draw.set_defaults(run=_draw)
    args = parser.parse_args(argv)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
