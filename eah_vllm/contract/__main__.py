"""`python -m eah_vllm.contract`: checks that the installed vLLM has all that we use; the exit status is 1 if not."""

from eah_vllm.contract.check import main
from eah_vllm.contract.names import NAMES

if __name__ == "__main__":
    main(NAMES)
