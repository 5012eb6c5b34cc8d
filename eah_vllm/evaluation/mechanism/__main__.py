"""`python -m eah_vllm.evaluation.mechanism --n 200 --out DIR`; `claim.py` says what it does."""

import sys

from eah_vllm.evaluation.mechanism.claim import main

if __name__ == "__main__":
    sys.exit(main())
