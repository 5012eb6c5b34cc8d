"""With the plugin loaded, vLLM knows all other architectures as before, and has imported no model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from eah_vllm.models import SUPPORTED_ARCHITECTURES

ROOT = Path(__file__).parents[2]
LOOK = """
import json, sys
from vllm import ModelRegistry
from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig
before, hooks = dict(ModelRegistry.models), dict(MODELS_CONFIG_MAP)
from vllm.plugins import load_general_plugins
load_general_plugins()
import eah_vllm
eah_vllm.register()  # vLLM may load a plugin more than once
after = ModelRegistry.models
theirs = {name: hooks.get(name, VerifyAndUpdateConfig) for name in {*before, *hooks}}
inherit = [name for name in theirs if not issubclass(MODELS_CONFIG_MAP[name], theirs[name])]
twice = [name for name, hook in MODELS_CONFIG_MAP.items() if len(hook.__mro__) > len(theirs[name].__mro__) + 2]
models = {model.module_name for model in before.values()}
print(json.dumps({
    "changed": sorted(name for name in after if after[name] != before.get(name)),
    "lost": sorted(set(before) - set(after)),
    "hooks_lost": inherit, "hooks_twice": twice,
    "imported": sorted(models & set(sys.modules)),
    "ours": ModelRegistry.models["Qwen2_5_VLForConditionalGeneration"].load_model_cls().__mro__[2].__module__,
    "bases": [c.__name__ for c in ModelRegistry.models["MiniCPMV"].load_model_cls().__mro__[:3]],
}))
"""


def test_the_registry_is_untouched_for_all_others() -> None:
    environment = os.environ | {"VLLM_PLUGINS": "eah", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'server'}"}
    run = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert set(found["changed"]) == SUPPORTED_ARCHITECTURES
    assert found["lost"] == found["hooks_lost"] == found["hooks_twice"] == found["imported"] == []
    assert found["ours"] == "vllm.model_executor.models.qwen2_5_vl"
    assert found["bases"] == ["EAHMiniCPMV", "EAHModelMixin", "MiniCPMV"]
