"""Names whose server never responds, in the processes of the fault suite; the system looks up all others."""

import socket
import time
from typing import Any

SILENT = ".silent.test"
# As long as glibc's resolver tries: three servers, twice five seconds each.
SILENT_SECONDS = 30.0


def install() -> None:
    system = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(SILENT):
            time.sleep(SILENT_SECONDS)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return system(host, *arguments, **options)

    socket.getaddrinfo = getaddrinfo
