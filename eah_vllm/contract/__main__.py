"""`python -m eah_vllm.contract`: does the installed vLLM have all that we use?"""

from eah_vllm.contract.check import main
from eah_vllm.contract.names import NAMES

if __name__ == "__main__":
    main(NAMES)
