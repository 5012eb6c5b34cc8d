"""nginx with `deploy/nginx/nginx.conf`, as it is shipped but for its address and its replicas."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools import ROOT
from tools.serving import free_port

SHIPPED = ROOT / "deploy" / "nginx"
LISTEN = "listen 8080;"


class Balancer:
    """Use as a context manager. `replicas` are addresses, HOST:PORT."""

    def __init__(self, replicas: Sequence[str]) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            raise RuntimeError("this needs nginx: apt-get install nginx-light")
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="replicas-")
        folder = Path(self._folder.name)
        folder.chmod(0o755)  # nginx's workers are another user
        shipped = (SHIPPED / "nginx.conf").read_text()
        assert shipped.count(LISTEN) == 1
        (folder / "nginx.conf").write_text(shipped.replace(LISTEN, f"listen 127.0.0.1:{self.port};"))
        server = re.search(r"^server \S+ (.*;)$", (SHIPPED / "replicas.conf").read_text(), re.M)
        assert server is not None
        (folder / "replicas.conf").write_text("".join(f"server {address} {server[1]}\n" for address in replicas))
        command = [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        command += ["-g", f"daemon off; pid {folder}/nginx.pid;"]
        subprocess.run([*command, "-t", "-q"], check=True)
        self._log = folder / "access.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> list[dict[str, str]]:
        """Every request so far as nginx logged it: `status`, `image`, `replica`, `replica_status`, `id`."""
        lines = [line for line in self._log.read_text().splitlines() if " image=" in line]
        return [
            dict(re.findall(r"(\w+)=(.*?)(?= \w+=|$)", line)) | {"status": line.split()[3], "uri": line.split()[2]}
            for line in lines
        ]

    def wait_for_route(self, number: int) -> list[dict[str, str]]:
        """All routes, once there are `number` of requests for answers; nginx logs a request after it has ended."""
        deadline = time.monotonic() + 30
        while len(found := [route for route in self.routes() if route["uri"].startswith("/v1/chat")]) < number:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nginx logged {len(found)} requests, not {number}")
            time.sleep(0.05)
        return found

    def __enter__(self) -> Balancer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._folder.cleanup()
