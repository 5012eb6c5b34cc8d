"""`python -m eah_vllm.contract`: has the vLLM that this Python finds all that we use? Ends with 1 if not."""

from eah_vllm.contract.check import main
from eah_vllm.contract.names import NAMES

if __name__ == "__main__":
    main(NAMES)
