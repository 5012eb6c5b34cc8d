"""EAH for vLLM: vision-language models that hallucinate less, switched on per request (arXiv 2411.09968).

Nothing in this package imports from here.
"""

import logging
import multiprocessing

from eah_vllm.models import SUPPORTED_ARCHITECTURES
from eah_vllm.switch import is_disabled
from eah_vllm.version import __version__

__all__ = ["SUPPORTED_ARCHITECTURES", "__version__", "is_disabled", "register"]


def register() -> None:
    """Register our classes; vLLM calls this entry point (`vllm.general_plugins`) in every process, at least once."""
    if is_disabled():
        logging.getLogger("vllm.eah").warning("EAH_DISABLE=1: EAH is switched off; vLLM runs as if it were absent.")
        return
    if multiprocessing.parent_process() is None:  # a child process runs its parent's vLLM, which was checked
        from eah_vllm.contract.check import check_at_start
        from eah_vllm.contract.names import SERVING

        check_at_start(SERVING)
    from eah_vllm.engine.registration import register_models

    register_models()
