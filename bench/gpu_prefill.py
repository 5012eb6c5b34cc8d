"""What EAH costs on a GPU: prefill of a 7B model with and without it, and one layer's operations. No vLLM is needed.

    python -m bench.gpu_prefill --json gpu.json         # torch, triton, transformers, and a GPU with 20 GB
    TRITON_INTERPRET=1 python -m bench.gpu_prefill --tiny --device cpu      # does the script work? A minute, no GPU

First the kernels are compared with the naive way on this very device; then stock attention, EAH off and EAH on take
turns in one process. Weights are random: they change neither what is computed nor how long it takes.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
import triton
from torch import Tensor
from transformers import LlamaConfig, LlamaModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

from bench.gpu.tables import prefill as prefill_tables
from bench.gpu_ops import PEAKS, Shape, Tables, check, choose, extra_megabytes, maps, measure, summary
from eah_vllm.kernels.launch import broadcast_rows

ROOT = Path(__file__).parents[1]
LAYER = 1
"""EAH acts in the second decoder layer, as in the plugin's preset "paper"."""


@dataclass
class EAH:
    """An attention function for transformers: ordinary fused attention, and EAH in one layer while it is on."""

    shape: Shape
    mode: Literal["off", "on", "naive"] = "off"
    tables: Tables | None = None

    def __call__(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        """Attend over whole prompts: query `[prompts, heads, S, head_dim]`, output `[prompts, S, heads, head_dim]`."""
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        if module.layer_idx == LAYER and self.mode != "off":
            assert self.tables is not None
            tokens = [matrix.transpose(1, 2).flatten(0, 1) for matrix in (query, key, value)]
            rows = output.flatten(0, 1)
            source, applies = choose(tokens[0], tokens[1], self.tables, self.shape, module.scaling)
            if self.mode == "on":
                kv_source = torch.div(source, module.num_key_value_groups, rounding_mode="floor")
                heads = source, kv_source, tokens[2], applies, rows
                broadcast_rows(*tokens[:2], *heads, self.tables.prompts, module.scaling)
            else:
                self._naive(*tokens, source, rows, module)
        return output, None

    def _naive(self, query: Tensor, key: Tensor, value: Tensor, source: Tensor, output: Tensor, module: Any) -> None:
        for rows, head in zip(self.shape.rows(), source.tolist(), strict=True):
            weights = maps(query[rows], key[rows], module.scaling)[head]
            mixed = torch.einsum("rc,chd->rhd", weights, value[rows].float())
            output[rows] = mixed.repeat_interleave(module.num_key_value_groups, dim=1).to(output.dtype)


class Prefill:
    """A Llama with random weights and one step of whole prompts of equal length."""

    def __init__(self, shape: Shape, intermediate: int, layers: int, device: torch.device, dtype: torch.dtype) -> None:
        hidden = shape.heads * shape.head_dim
        config = LlamaConfig(
            vocab_size=32064, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
            num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
            max_position_embeddings=4096, attn_implementation="eah",
            initializer_range=1.28 / hidden**0.5,  # 0.02 at 4096; the maps of smaller models then differ as much
        )  # fmt: skip
        self.device, self.shape, self.eah = device, shape, EAH(shape)
        AttentionInterface.register("eah", self.eah)
        AttentionMaskInterface.register("eah", sdpa_mask)
        with torch.device(device):
            default = torch.get_default_dtype()
            torch.set_default_dtype(dtype)
            self.model = LlamaModel(config).eval()
            torch.set_default_dtype(default)
            self.token_ids = torch.randint(config.vocab_size, (len(shape.lengths), shape.lengths[0]))

    def run(self, setting: str) -> Tensor:
        """Compute one step with the setting `stock`, `off`, `on` or `naive`."""
        self.model.config._attn_implementation = "sdpa" if setting == "stock" else "eah"
        self.eah.mode = setting if setting in ("on", "naive") else "off"  # type: ignore[assignment]
        self.eah.tables = self.shape.tables(self.device) if setting in ("on", "naive") else None
        with torch.inference_mode():
            hidden: Tensor = self.model(self.token_ids, use_cache=False).last_hidden_state
        return hidden

    def check(self) -> dict[str, float]:
        """Check that EAH off equals stock bit by bit, and that EAH on changes the output and equals the naive way.

        Raises:
            RuntimeError: one of these does not hold.
        """
        stock, off, on, naive = (self.run(setting).float() for setting in ("stock", "off", "on", "naive"))
        changed, error = float((on - stock).abs().mean()), float((on - naive).abs().mean())
        if not torch.equal(stock, off) or not changed > 0 or not error < changed / 2:
            equal = torch.equal(stock, off)
            raise RuntimeError(f"off equals stock: {equal}; on differs from stock by {changed}, from naive by {error}")
        return {"on_minus_stock": changed, "on_minus_naive": error}

    def wall(self, setting: str) -> float:
        """Return the milliseconds from the call to the last kernel's end, including the host's work and the tables."""
        self._wait()
        begin = time.perf_counter()
        if self.device.type == "cpu":
            self.run(setting)
            return (time.perf_counter() - begin) * 1e3
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        self.run(setting)
        stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop))

    def _wait(self) -> None:
        if self.device.type != "cpu":
            torch.cuda.synchronize(self.device)


def measure_prefill(prefill: Prefill, runs: int) -> dict[str, Any]:
    """Time stock, off and on in turns; each round begins with another of them."""
    settings = ["stock", "off", "on"]
    for setting in settings:
        prefill.run(setting)
    times: dict[str, list[float]] = {setting: [] for setting in settings}
    for i in range(runs):
        for setting in settings[i % 3 :] + settings[: i % 3]:
            times[setting].append(prefill.wall(setting))
    ratios = {s: [a / b for a, b in zip(times[s], times["stock"], strict=True)] for s in ("off", "on")}
    return {
        "shape": str(prefill.shape),
        "layers": len(prefill.model.layers),
        "milliseconds": {setting: summary(values) for setting, values in times.items()},
        "over_stock": {setting: summary(values) for setting, values in ratios.items()},
        "extra_megabytes": {s: extra_megabytes(partial(prefill.run, s), prefill.device) for s in settings},
    }


def commit() -> str:
    """Return the commit of this checkout, or the one that a package notes, or `unknown`."""
    noted = ROOT / "COMMIT"
    if noted.exists():
        return noted.read_text().strip()
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def main() -> None:
    """Compare the kernels with the naive way, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--layers", type=int, default=32, help="decoder layers of the model; 32 need 13 GB")
    parser.add_argument("--runs", type=int, default=20, help="rounds; in each, everything is timed once")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--tiny", action="store_true", help="small sizes: shows that all of it works, measures nothing")
    parser.add_argument("--peak-tflops", type=float, help="of the device, in the chosen type; else looked up by name")
    parser.add_argument("--peak-terabytes", type=float, help="of its memory, per second")
    given = parser.parse_args()
    device, dtype = torch.device(given.device), getattr(torch, given.dtype)
    name = platform.processor() or "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    peaks = next((figures for part, figures in PEAKS.items() if part in name), None) if dtype.itemsize == 2 else None
    if given.peak_tflops and given.peak_terabytes:
        peaks = (given.peak_tflops, given.peak_terabytes)

    if given.tiny:
        prompt = Shape((40,), 4, 2, 16, (5, 30))
        checked = [replace(prompt, lengths=(40, 33, 70))]
        timed, steps, intermediate, layers = [prompt], [prompt, replace(prompt, lengths=(40, 40))], 96, 3
    else:
        prompt = Shape((648,), 32, 32, 128, (35, 611))
        grouped = replace(prompt, heads=28, kv_heads=4)
        checked = [replace(shape, lengths=(648, 700, 1111)) for shape in (prompt, grouped)]
        timed = [replace(shape, lengths=(n,)) for shape in (prompt, grouped) for n in (648, 1024, 2048, 4096)]
        timed += [replace(shape, lengths=(648, 700, 660, 1111, 648, 901, 777, 690)) for shape in (prompt, grouped)]
        steps, intermediate, layers = [prompt, replace(prompt, lengths=(648,) * 8)], 11008, given.layers

    torch.manual_seed(0)
    if device.type == "cpu":
        torch.set_num_threads(1)  # Triton's interpreter works in one thread
    results: dict[str, Any] = {
        "device": name,
        "versions": f"torch {torch.__version__}, triton {triton.__version__}, transformers {transformers.__version__}",
        "commit": commit(),
        "command": f"python -m bench.gpu_prefill {' '.join(sys.argv[1:])}".strip(),
        "dtype": given.dtype,
        "peaks": peaks and {"tflops": peaks[0], "terabytes_per_second": peaks[1]},
        "kernels_minus_naive": {str(shape): check(shape, device, dtype) for shape in checked},
        "prefill": [],
        "operations": [],
    }
    for shape in steps:
        prefill = Prefill(shape, intermediate, layers, device, dtype)
        difference = prefill.check()
        results["prefill"].append(measure_prefill(prefill, given.runs) | {"hidden_states": difference})
        del prefill  # the device holds one model at a time
    for shape in timed:
        results["operations"] += measure(shape, device, dtype, given.runs, peaks)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    sys.stdout.write(prefill_tables(results) + "\n")


if __name__ == "__main__":
    main()
