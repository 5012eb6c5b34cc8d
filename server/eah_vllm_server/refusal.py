"""How a request that asks for something impossible of EAH, or of a check, is refused."""

from vllm.exceptions import VLLMValidationError

from eah_vllm.options import OptionError
from eah_vllm_server.metrics import metrics
from eah_vllm_server.verify.metrics import verify_metrics


def refusal(error: OptionError) -> VLLMValidationError:
    """Count a refused request and return vLLM's error for it, which vLLM answers with 400 and the field's name.

    Pydantic would wrap our own error.
    """
    metrics().count_requests("refused")
    return VLLMValidationError(str(error), parameter=error.field)


def verify_refusal(error: OptionError) -> VLLMValidationError:
    """Count a request refused for its check, and return vLLM's error for it."""
    verify_metrics().requests.labels(outcome="refused").inc()
    return VLLMValidationError(str(error), parameter=error.field)
