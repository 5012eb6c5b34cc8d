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
    """Entry point `vllm.general_plugins`: vLLM calls it in every process, some more than once."""
    if is_disabled():
        logging.getLogger("vllm.eah").warning("EAH_DISABLE=1: EAH is switched off; vLLM runs as if it were absent.")
        return
    if multiprocessing.parent_process() is None:  # a child runs the vLLM of its parent, which was checked
        from eah_vllm.contract.check import check
        from eah_vllm.contract.names import NAMES

        check(NAMES)
    from eah_vllm.engine.registration import register_models

    register_models()
