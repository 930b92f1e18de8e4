"""Two machines on this one: network namespaces with names and addresses of their own, and a network between them."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Machines:
    """Two of them, ``names``; a process started on one sees its own network alone, and the file system of all."""

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex[:6]
        self.names = [f"node1-{self._mark}", f"node2-{self._mark}"]

    def up(self) -> None:
        """Raises CalledProcessError where this process may not."""
        addresses = dict(zip(self.names, ("10.77.0.1", "10.77.0.2"), strict=True))
        for name in self.names:
            self._ip("netns", "add", name)
            settings = Path("/etc/netns", name)  # `ip netns exec` puts them in the place of those in /etc
            settings.mkdir(parents=True, exist_ok=True)
            (settings / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{at} {node}\n" for node, at in addresses.items()))
            (settings / "nsswitch.conf").write_text("hosts: files\n")  # there is no name server to wait for
        first, second = self.names
        self._ip("link", "add", "eth0", "netns", first, "type", "veth", "peer", "name", "eth0", "netns", second)
        for name, address in addresses.items():
            self._ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self._ip("-n", name, "link", "set", device, "up")

    def down(self) -> None:
        """End whatever runs there, and take them away."""
        for name in self.names:
            self.kill(name)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns", name), ignore_errors=True)

    def start(self, name: str, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command on a machine, in a process that knows the machine's name."""
        named = ["unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh"]
        return subprocess.Popen(["ip", "netns", "exec", name, *named, *command], text=True, **options)

    def unplug(self, name: str) -> None:
        """Cut its network: whatever ran there answers no more, and nobody is told."""
        self._ip("-n", name, "link", "set", "eth0", "down")

    def kill(self, name: str) -> None:
        """End all of its processes at once."""
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout.split()
        subprocess.run(["kill", "-KILL", *found], capture_output=True, check=False)

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_machines() -> Iterator[Machines | None]:
    """Two machines; None where this process may not make them."""
    machines = Machines()
    try:
        machines.up()
    except (OSError, subprocess.CalledProcessError):
        machines.down() if shutil.which("ip") else None
        yield None
        return
    try:
        yield machines
    finally:
        machines.down()
