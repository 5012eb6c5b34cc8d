"""Writes `docs/models.md` from the table of models: `python -m tools.models_page`."""

from __future__ import annotations

from eah_vllm.model_row import REFUSED, TESTED, UNTESTED, Row, Verdict
from eah_vllm.models import MODELS
from tools import ROOT

PAGE = ROOT / "docs" / "models.md"

HEAD = """# Models

This page is made from the table in [`eah_vllm/models.py`](../eah_vllm/models.py) by `python -m tools.models_page`; a
test fails when they differ. `GET /v1/eah` shows the row of the served model as `row`.

EAH is applied to multimodal models of vLLM whose image tokens stand in the decoder's self-attention: our class is made
of vLLM's own when vLLM loads it, and the attention of every decoder layer is wrapped. A layer that is not plain causal
attention (sliding window, soft cap, ALiBi, learned sinks, images that attend both ways, keys of another layer,
chunked-local or cross attention, MLA, no attention) is never changed. A request that names one is answered as without
EAH, with reason `unsupported_attention` and a `detail` that names the layer and what it has.

Of a video, the tokens of its frames count (`modality` in the report) where the table says so; tested with Qwen2-VL.

An architecture without a row runs as in stock vLLM, and `eah` is answered with reason `unsupported_model`. To try it
all the same, with the same mechanism, untested: `--additional-config '{"eah": {"any_model": true}}'`.

`start` is what a bare `"eah": true` begins with where it differs from the paper's `layer` 1 and `threshold` 0.002. The
paper's threshold is 1.25/S at LLaVA-1.5's prompts of about S = 625 tokens, so other models start at that multiple of
1/S. That is a choice of this project; what it does to hallucinations is unmeasured.
"""

SECTIONS: dict[Verdict, str] = {
    TESTED: """`tests/models/` serves a tiny random checkpoint of each family with the real engine and the family's own
processor. EAH off equals stock vLLM token for token; on equals a Hugging Face reference that shares no code with the
product, report included. Nothing here says that a family hallucinates less with EAH.""",
    UNTESTED: "What a tested family has, in a class that nobody has run here.",
    REFUSED: "Each with the reason.",
}


CONVERTED = """## Checkpoints in other layouts

`eah-vllm convert LAYOUT SRC DST` writes a LLaVA-1.5 checkpoint, with processor and chat template, that `eah-vllm
serve`, stock vLLM and transformers load. A tensor that is missing, unexpected or of another shape is named, and nothing
is written. Tests compare small checkpoints in both layouts with a forward pass written from the models' own code;
nobody has converted the public ones here ([why so](decisions/0020-converted-checkpoints.md)).

- `shikra`: `shikras/shikra-7b-delta-v1` is the difference to LLaMA-7B, whose folder `--base` names; it is added as
  Shikra's own `apply_delta.py` does. A merged checkpoint needs no `--base`.
- `llava`: `liuhaotian/llava-v1.5-7b`, `-13b` and their descendants: whole weights, no LoRA; projectors `linear` and
  `mlp2x_gelu`.

The vision tower is the one that `mm_vision_tower` names, in a folder or in Hugging Face's cache; `--vision-tower CLIP`
names another place. A checkpoint's own copy of it is used where it holds one.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for verdict, words in SECTIONS.items():
        rows = [row for row in MODELS.values() if row.verdict == verdict]
        lines = [_line(row) for row in rows]
        parts.append(f"## {verdict.capitalize()}\n\n{words}\n\n{TABLE}\n" + "\n".join(lines) + "\n")
    return "\n".join([*parts, CONVERTED])


TABLE = "| family | architecture | image tokens | counts | start | what else is known |\n|---|---|---|---|---|---|"


def _line(row: Row) -> str:
    start = ", ".join(f"`{name}` {value}" for name, value in row.start.items()) if row.mechanism else ""
    counts = ", ".join(row.modalities) if row.mechanism else ""
    tokens = row.image_tokens if row.mechanism else ""
    return f"| {row.family} | `{row.architecture}` | {tokens} | {counts} | {start} | {row.note} |"


if __name__ == "__main__":
    PAGE.write_text(page())
