"""The models that EAH can be applied to."""

SUPPORTED_ARCHITECTURES = {"LlavaForConditionalGeneration": "eah_vllm.engine.model:EAHLlavaForConditionalGeneration"}
"""Architecture of a checkpoint -> model class that can apply EAH to it."""
