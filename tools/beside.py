"""`python -m tools.beside COMMAND ...`: run a command beside a server of the built-in model, then stop it.

`{base_url}` in the command becomes the server's address. For commands of the Makefile that need a server.
"""

import signal
import subprocess
import sys

from tools.serving import Server


def main() -> None:
    """Start the server, run the command, and end with the command's exit status."""
    if not sys.argv[1:]:
        sys.exit(__doc__)
    # Leaving by an exception ends the server and the command too when this process is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.stderr.write("starting a server of the built-in model\n")
    with Server(api_key=None) as server:
        words = [word.replace("{base_url}", f"{server.url}/v1") for word in sys.argv[1:]]
        status = subprocess.run(words, check=False).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
