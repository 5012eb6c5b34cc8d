"""`python -m tools.beside COMMAND ...`: run a command beside a server of the built-in model, then stop it.

`{base_url}` in the command becomes the server's address. For commands of the Makefile that need a server.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 600


@contextmanager
def serving(arguments: Sequence[str] = ()) -> Iterator[str]:
    """A server on a free port of this machine, until the block ends; its address.

    Args:
        arguments: of `eah-vllm serve`; none serve the built-in model.

    Raises:
        RuntimeError: it ended, or did not answer in time; the message has the end of its log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "eah_vllm_server", "serve", *arguments, "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log.fileno())
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], url: str, log: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    end = os.pread(log, 6000, max(0, os.fstat(log).st_size - 6000)).decode(errors="replace")
    raise RuntimeError(f"the server ended or did not answer:\n{end}")


def main() -> None:
    """Run the command; its exit status."""
    if not sys.argv[1:]:
        sys.exit(__doc__)
    # So that whoever ends this also ends the server and the command.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.stderr.write("starting a server of the built-in model\n")
    with serving() as base_url:
        words = [word.replace("{base_url}", base_url) for word in sys.argv[1:]]
        status = subprocess.run(words, check=False, cwd=Path.cwd()).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
