"""A folder of beside/: the files of the other proxy, and the requests to try.

In the files ports are fixed, so that they read like anybody's: 18081, 18082 and 18083 are listeners, 190PM is member M
of the replicas with number P, and 19099 is a port on which nobody listens. A copy with free ports is what runs.
"""

import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from lib.wire import Request

LISTENERS = ("18081", "18082", "18083")
REPLICAS = re.compile(r"\b190[1-9][1-3]\b")
NOBODY = "19099"
MAIN = {"nginx.conf": "nginx", "nginx.conf.template": "nginx", "haproxy.cfg": "haproxy"}


@dataclass
class Case:
    """A config and its requests."""

    name: str
    folder: Path
    main: str
    kind: str
    requests: list[Request]
    environment: dict[str, str]
    # Seconds until probes have found out who is there.
    settle: float

    @classmethod
    def read(cls, folder: Path) -> "Case":
        written = tomllib.loads((folder / "requests.toml").read_text())
        [main] = [name for name in MAIN if (folder / name).exists()]
        host = written.get("host", "shop.test")
        return cls(
            name=folder.name,
            folder=folder,
            main=main,
            kind=MAIN[main],
            requests=[Request.of(one, host) for one in written["requests"]],
            environment=written.get("environment", {}),
            settle=written.get("settle", 0.0),
        )

    def replicas(self) -> list[str]:
        """The ports of all replicas that the files name."""
        texts = [file.read_text() for file in self.files()] + list(self.environment.values())
        return sorted({port for text in texts for port in REPLICAS.findall(text)})

    def files(self) -> list[Path]:
        return [file for file in sorted(self.folder.rglob("*")) if file.is_file() and file.name != "requests.toml"]

    def copy(self, to: Path, ports: dict[str, int]) -> dict[str, str]:
        """Writes the files with other ports, and returns the environment with these."""
        shutil.copytree(self.folder, to)
        for file in self.files():
            (to / file.relative_to(self.folder)).write_text(with_ports(file.read_text(), ports))
        return {name: with_ports(value, ports) for name, value in self.environment.items()}


def with_ports(text: str, ports: dict[str, int]) -> str:
    return re.sub(r"\b1[89]0\d\d\b", lambda found: str(ports.get(found[0], found[0])), text)


def filled(text: str, environment: dict[str, str]) -> str:
    """What `envsubst` makes of a template, as the image of nginx runs it: it knows the variables that are set."""
    return re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], found[0]), text)


def unported(value: object, ports: dict[str, int]) -> object:
    """A value without the ports of this run, so that two runs can be compared."""
    names = {str(port): "LISTENER" if name in LISTENERS else name for name, port in ports.items()}
    if isinstance(value, str):
        return re.sub(r"\b\d{4,5}\b", lambda found: names.get(found[0], found[0]), value)
    if isinstance(value, list | tuple):
        return type(value)(unported(one, ports) for one in value)
    if isinstance(value, dict):
        return {name: unported(one, ports) for name, one in value.items()}
    return value
