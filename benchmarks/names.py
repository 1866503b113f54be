"""Names for benchmarks, in a child process: some lead to this machine, look-ups of others never end."""

import socket
import time
from typing import Any

__all__ = ["SILENT", "TARPIT", "install"]

SILENT = ".silent.test"
TARPIT = ".tarpit.test"
# As long as glibc's resolver tries: three servers, twice five seconds each.
SILENT_SECONDS = 30.0


def install() -> None:
    """Resolve these names in place of the system's resolver, which resolves all others."""
    system = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name and name.endswith(SILENT):
            time.sleep(SILENT_SECONDS)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return system("127.0.0.1" if name and name.endswith(TARPIT) else host, *arguments, **options)

    socket.getaddrinfo = getaddrinfo
