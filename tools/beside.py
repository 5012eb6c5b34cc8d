"""`python -m tools.beside [SERVE ARGUMENTS --] COMMAND ...`: run a command beside a server, then stop the server.

Without arguments of its own the server has the built-in model; another checkpoint is served as that one is with
`PATH --config scenes`. `{base_url}` in the command becomes the server's address.
"""

import signal
import subprocess
import sys

from tools.serving import Server


def main() -> None:
    """Start the server, run the command, and end with the command's exit status."""
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else -1
    serve, command = words[: max(at, 0)], words[at + 1 :]
    if not command:
        sys.exit(__doc__)
    # Leaving by an exception ends the server and the command too when this process is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.stderr.write(f"starting a server of {serve[0] if serve else 'the built-in model'}\n")
    with Server(serve, api_key=None) as server:
        words = [word.replace("{base_url}", f"{server.url}/v1") for word in command]
        status = subprocess.run(words, check=False).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
