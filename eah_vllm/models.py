"""The models that EAH can be applied to."""

SUPPORTED_ARCHITECTURES = {"LlavaForConditionalGeneration": "eah_vllm.engine.model:EAHLlavaForConditionalGeneration"}
"""By architecture of a checkpoint, the model class that can apply EAH to it."""
