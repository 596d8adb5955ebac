#!/usr/bin/env python3
"""What grows when unstick does: with its workers, with its endpoints, and with clients that wait.

workers    the CPU of a request with two workers over that with one; the load has nice 19.
endpoints  the CPU of a request with 3 to 10,000 endpoints, how long it takes until an edit of that file is in use, and
           how long the slowest request takes while 10,000 endpoints are reloaded again and again.
idle       what thousands of TLS clients take that wait for their next request.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from lib.load import finish_wrk, run_wrk, start_wrk
from lib.peers.idle import idle_kib
from lib.peers.products import UNSTICK as PRODUCT, Missing, oha_program
from lib.peers.setup import SETUPS
from lib.peers.start import start as start_field
from lib.process import (
    UNSTICK,
    Children,
    cores,
    cpu_ns,
    cpu_spent_ns,
    findings,
    free_port,
    memory_kib,
    need_tools,
    need_unstick,
    thread_ids,
    wait_until,
)
from lib.servers import Server, make_files, start_nginx, start_unstick
from lib.stats import median_interval

PARTS = ("workers", "endpoints", "idle")
COUNTS = (3, 100, 1_000, 10_000)
REPLICAS = 3  # processes of nginx that listen for all endpoints: each may have so many sockets only
PROBES = 'interval = "30s"\n'  # 10,000 endpoints probed every two seconds would be load of their own
NICE = 19
WARM_S = 2
BALANCES = ("round-robin", "least-connections")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each kind (7)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a round (2)")
    parser.add_argument("--endpoints", type=int, default=COUNTS[-1], help=f"the most endpoints ({COUNTS[-1]:,})")
    parser.add_argument("--clients", type=int, default=9_000, help="idle TLS clients (9,000)")
    parser.add_argument(
        "--rate", type=int, default=2_000, help="requests per second while endpoints are reloaded (2,000)"
    )
    parser.add_argument(
        "--max-ms", type=float, default=5, help="exit 1 if a reload adds more to the slowest request (5)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there")
    parser.add_argument("--unstick", type=Path, default=UNSTICK, metavar="PATH")
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return args


def cpu_of_workers(pid: int) -> dict[int, int]:
    """CPU time of the threads that serve requests, in ns."""
    workers = thread_ids(pid, "unstick-0", "unstick-1")
    return {thread: spent for thread, spent in cpu_ns(pid).items() if thread in workers}


def cpu_of_a_request(children: Children, proxy: Server, seconds: int, loads: list[int | None]) -> tuple[float, float]:
    """CPU microseconds of the workers per request, and requests per second, under one wrk on each core of `loads`."""
    url = proxy.url()
    run_wrk(children, url, WARM_S, 64, loads[0]).expect_clean(proxy.name)  # connections that were not used have ended
    before = cpu_of_workers(proxy.pid)
    running = [start_wrk(children, url, seconds, 64, core, nice=NICE) for core in loads]
    counts = [finish_wrk(children, wrk, seconds).expect_clean(proxy.name) for wrk in running]
    spent = sum(now - before.get(thread, 0) for thread, now in cpu_of_workers(proxy.pid).items())
    requests = sum(count.requests for count in counts)
    return spent / requests / 1000, sum(count.per_second for count in counts)


def told(ratios: list[float]) -> str:
    low, high = median_interval(ratios)
    return f"{median(ratios):.2f} ({low:.2f}-{high:.2f})"


def workers(args: argparse.Namespace, children: Children, tmp: Path) -> dict:
    """Both are alive, and take their rounds in turn. The replicas run on both cores too, with nice 19."""
    files = make_files(tmp / "files")
    both = list(cores())
    replicas = [start_nginx(children, tmp, files, core, nice=NICE).address for core in both]
    proxies = {
        count: start_unstick(children, tmp, {"app": replicas}, args.unstick, workers=count, name=f"workers-{count}")
        for count in (1, 2)
    }
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in proxies}
    for number in range(args.rounds + 1):
        for count in (1, 2) if number % 2 else (2, 1):
            measured = cpu_of_a_request(children, proxies[count], args.seconds, both)
            if number:  # the first round warms up
                found[count].append(measured)
    ratios = [two / one for (one, _), (two, _) in zip(found[1], found[2], strict=True)]
    rates = [two / one for (_, one), (_, two) in zip(found[1], found[2], strict=True)]
    print(f"workers: CPU of a request with two workers over that with one: {told(ratios)}")
    print(f"workers: requests per second with two workers over those with one: {told(rates)}")
    return {"cpu": ratios, "rate": rates, "rounds": found}


def listening(children: Children, tmp: Path, core: int, count: int) -> list[str]:
    """So many addresses, of a few processes."""
    files, ports = make_files(tmp / "files"), set()
    while len(ports) < count:
        ports.add(free_port())
    ordered = sorted(ports)
    for share in (ordered[start::REPLICAS] for start in range(REPLICAS)):
        start_nginx(children, tmp, files, core, port=share[0], more_ports=share[1:])
    return [f"127.0.0.1:{port}" for port in ordered]


class Edited:
    """One unstick with many endpoints, whose file is edited."""

    def __init__(self, args, children: Children, tmp: Path, addresses: list[str], core: int | None, name: str) -> None:
        pools = {"app": addresses}
        self.server = start_unstick(children, tmp, pools, args.unstick, core=core, name=name, health=PROBES)
        self.file = tmp / name / "unstick.toml"
        self.texts = [text.replace(f', "{addresses[-1]}"]', "]") for text in [self.file.read_text()]]
        self.texts.append(self.file.read_text())
        self.edits = 0

    def applied(self) -> int:
        """Edits that are in use, by the log: the admin port would have to tell of all endpoints."""
        return self.server.log.read_text().count("reloaded: ")

    def edit(self) -> None:
        """Takes the last endpoint out, or back in."""
        staged = self.file.with_suffix(".next")
        staged.write_text(self.texts[self.edits % 2])
        staged.rename(self.file)
        self.edits += 1

    def reload_ms(self) -> tuple[float, float]:
        """How long an edit takes until it is in use, and the CPU it takes (probes included)."""
        before, cpu, start = self.applied(), cpu_ns(self.server.pid), time.monotonic()
        self.edit()
        wait_until(lambda: self.applied() > before, 30, "the edit is applied", every=0.005)
        return (time.monotonic() - start) * 1e3, cpu_spent_ns(self.server.pid, cpu) / 1e6


def endpoints(args: argparse.Namespace, children: Children, tmp: Path) -> dict:
    proxy_core, load_core = cores()
    counts = [count for count in COUNTS if count < args.endpoints] + [args.endpoints]
    addresses = listening(children, tmp, load_core, args.endpoints)
    found: dict = {}
    for balance in BALANCES:
        proxies = {}
        for count in counts:
            name = f"{balance}-{count}"
            proxies[count] = Edited(args, children, tmp, addresses[:count], proxy_core, name)
        found[balance] = picked(args, children, balance, {count: edited.server for count, edited in proxies.items()})
        if balance == BALANCES[0]:
            found["reload"] = {
                count: [edited.reload_ms() for _ in range(args.rounds)] for count, edited in proxies.items()
            }
            for count, times in found["reload"].items():
                took, cpu = (median(column) for column in zip(*times, strict=True))
                print(f"reload: {count:>6,} endpoints: in use after {took:.0f} ms, with {cpu:.1f} ms of CPU")
        for edited in proxies.values():
            children.stop(edited.server.process)
    found["slowest"] = reloaded(args, children, tmp, addresses)
    return found


def picked(args: argparse.Namespace, children: Children, balance: str, proxies: dict[int, Server]) -> dict:
    load_core = cores()[1]
    rounds: dict[int, list[float]] = {count: [] for count in proxies}
    for number in range(args.rounds + 1):
        for count in list(proxies) if number % 2 else reversed(list(proxies)):
            cpu, _ = cpu_of_a_request(children, proxies[count], args.seconds, [load_core])
            if number:
                rounds[count].append(cpu)
    first = rounds[min(proxies)]
    for count, values in rounds.items():
        ratios = [value / least for value, least in zip(values, first, strict=True)]
        print(f"{balance}: {count:>6,} endpoints: {median(values):.1f} us per request, {told(ratios)} of that with 3")
    return rounds


def reloaded(args: argparse.Namespace, children: Children, tmp: Path, addresses: list[str]) -> dict:
    """The slowest request without edits and with one each second. Each waits at most for what the machine does beside:
    what is compared are medians of rounds in turn."""
    oha = oha_program()
    load_core = cores()[1]
    proxy = Edited(args, children, tmp, addresses, None, "reloaded")
    slowest: dict[str, list[float]] = {"still": [], "edited": []}
    for number in range(args.rounds + 1):
        for kind in ("still", "edited") if number % 2 else ("edited", "still"):
            words = [oha, "--no-tui", "--output-format", "json", "-z", f"{5}s", "-c", 16, "-q", args.rate, "-w"]
            words += ["--latency-correction", proxy.server.url()]
            load = children.start(words, load_core, stdout=-1, stderr=-1, text=True)
            for _ in range(4):
                time.sleep(1)
                if kind == "edited":
                    proxy.edit()
            out, err = load.communicate(timeout=30)
            children.stop(load)
            if load.returncode:
                raise RuntimeError(f"oha ended with {load.returncode}: {err[-300:]}")
            report = json.loads(out)
            if set(report["statusCodeDistribution"]) != {"200"} or report["errorDistribution"]:
                raise RuntimeError(f"{kind}: {report['statusCodeDistribution']}, {report['errorDistribution']}")
            if number:
                slowest[kind].append(report["summary"]["slowest"] * 1e3)
    for kind, values in slowest.items():
        print(f"reload under load: {kind}: slowest request {median(values):.1f} ms (of rounds: {shown(values)})")
    added = median(slowest["edited"]) - median(slowest["still"])
    print(f"reload under load: {added:+.1f} ms (bound {args.max_ms:g} ms)")
    if added > args.max_ms:
        raise RuntimeError("a reload delays requests for too long")
    return slowest


def shown(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in sorted(values))


def idle(args: argparse.Namespace, children: Children, tmp: Path) -> dict:
    """One connection after the other: a handshake, a request, then nothing."""
    product = replace(PRODUCT, binary=args.unstick)
    field = start_field(children, tmp, SETUPS["idle-tls"], [("unstick", product)], cores())
    if field.left_out:
        raise RuntimeError(field.left_out["unstick"])
    (peer,) = field.peers
    empty = memory_kib(peer.pid)
    each = idle_kib(peer, "tls", args.clients)
    whole, beside = each * args.clients / 1024, empty / 1024
    print(f"idle: {args.clients:,} TLS clients: {each:.1f} KiB each, {whole:.0f} MiB beside {beside:.0f}")
    return {"clients": args.clients, "kib_each": each, "empty_kib": empty}


def main() -> int:
    args = arguments()
    need_tools("nginx", "wrk")
    args.unstick = need_unstick(args.unstick)
    found = {}
    with findings():
        for part in args.parts or PARTS:
            with tempfile.TemporaryDirectory(prefix="unstick-scale-") as folder, Children() as children:
                found[part] = {"workers": workers, "endpoints": endpoints, "idle": idle}[part](
                    args, children, Path(folder)
                )
            if args.json:
                args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
