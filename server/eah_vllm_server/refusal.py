"""How a request that asks for something impossible of EAH is refused."""

from vllm.exceptions import VLLMValidationError

from eah_vllm.method.registry import method_of
from eah_vllm.options import OptionError
from eah_vllm_server.metrics import metrics


def refusal(error: OptionError) -> VLLMValidationError:
    """Count a refused request and return vLLM's error for it, which vLLM answers with 400 and the field's name.

    Pydantic would wrap our own error.
    """
    metrics().count_requests(method_of(error.field), "refused")
    return VLLMValidationError(str(error), parameter=error.field)
