#!/usr/bin/env python3
"""Runs what `unstick import` makes of a config beside the real nginx or HAProxy, and compares them field by field.

    tests/import/beside.py --program target/release/unstick
    tests/import/beside.py --only gateway --only ha-acls --keep /tmp/beside

Each folder of beside/ is a config with requests. Both proxies get the same requests, in front of the same replicas, and
the responses and what the replicas received are compared; lib/compare.py lists what is not. A config is

    alike               all is the same
    differs as told     some is not, and requests.toml names a line of the report for each field that differs
    SILENTLY DIFFERENT  something else differs, or the report has no such line

First faults are planted: in the imported config of one folder single values are changed, each of which must be found.

Exit codes: 0 at least 20 configs are alike and none is silently different, 1 otherwise, 2 a planted fault was
missed, or something is missing. Needs Python 3.11 or newer, and nginx and HAProxy: apt-get install nginx-light haproxy.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from lib import compare
from lib.cases import LISTENERS, NOBODY, Case, unported
from lib.proxies import SetupError, command, free_ports, missing, running
from lib.replicas import Received, Replica
from lib.wire import Response, send

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "beside"
ALIKE_MIN = 20
# In the config that is imported from this folder these texts are replaced, and that must be seen in this field.
PLANTED_IN = "gateway"
PLANTS = [
    ("status = 204", "status = 205", "status"),
    ('\\"status\\":404', '\\"status\\":405', "body"),
    ('x-content-type-options = "nosniff"', 'x-content-type-options = "none"', "response x-content-type-options"),
    ('x-gateway = "edge-1"', 'x-gateway = "edge-2"', "request x-gateway"),
    ('to = "/v2"', 'to = "/v3"', "replica: target"),
]


@dataclass
class Outcome:
    """What came of a config."""

    # Differences that nothing tells of, as they are shown.
    silent: list[str] = field(default_factory=list)
    # Lines of the report that name a difference.
    told: list[str] = field(default_factory=list)
    fields: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        if self.silent:
            return "SILENTLY DIFFERENT"
        return f"differs as told: {'; '.join(self.told)}" if self.told else "alike"


class Trial:
    """A config with its replicas, and what each proxy has done with the requests."""

    def __init__(self, case: Case, program: Path, folder: Path) -> None:
        self.case, self.program, self.folder = case, program, folder
        self.received = Received()
        self.replicas = {port: Replica(port[3], self.received) for port in case.replicas()}
        # The listeners of both, and the port that stays free.
        *listeners, nobody = free_ports(2 * len(LISTENERS) + 1)
        shared = {port: replica.port for port, replica in self.replicas.items()} | {NOBODY: nobody}
        half = len(LISTENERS)
        self.ports = {
            "other": shared | dict(zip(LISTENERS, listeners[:half])),
            "ours": shared | dict(zip(LISTENERS, listeners[half:])),
        }
        self.environment = {side: case.copy(folder / side, self.ports[side]) for side in self.ports}
        self.report = self.imported()
        self.other = self.asked("other", command(case, folder / "other", self.environment["other"]))

    def imported(self) -> list[str]:
        """Imports the copy, and returns the directives that the report names."""
        output = self.folder / "ours" / "unstick.toml"
        file = self.folder / "ours" / self.case.main
        words = [self.program, "import", file, "--from", self.case.kind, "-o", output, "--json"]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
        if done.returncode not in (0, 1):
            raise SetupError(f"import says {done.returncode}: {done.stderr}")
        with output.open("a") as config:
            config.write('\n[admin]\naddress = "off"\n')  # another one may run here
        return [unported(left["directive"], self.ports["ours"]) for left in json.loads(done.stdout)["left_out"]]

    def asked(self, side: str, words: list[str]) -> list[tuple[Response, list[dict]]]:
        """Starts a proxy, sends it all requests, and returns what came and what the replicas got."""
        ports = self.ports[side]
        got = []
        with running(side, words, ports[LISTENERS[0]], self.folder / side, self.environment[side]):
            time.sleep(self.case.settle)
            run = f"{side}-{time.monotonic_ns()}"
            for number, request in enumerate(self.case.requests):
                response = send(ports[LISTENERS[request.listener - 1]], f"{run}-{number}", request)
                response = Response(response.status, unported(response.fields, ports), unported(response.body, ports))
                got.append((response, unported(self.received.of(f"{run}-{number}"), ports)))
        return got

    def ours(self) -> list[tuple[Response, list[dict]]]:
        toml = self.folder / "ours" / "unstick.toml"
        return self.asked("ours", [str(self.program), "run", "-c", str(toml)])

    def outcome(self) -> Outcome:
        """Runs unstick, and compares."""
        outcome = Outcome()
        for request, (other, theirs), (ours, own) in zip(self.case.requests, self.other, self.ours(), strict=True):
            is_own = not theirs and not own
            found = compare.responses(self.case.kind, request, other, ours, is_own) + compare.received(
                request, theirs, own
            )
            outcome.fields |= {name for name, _, _ in found}
            for name, was, is_now in found:
                line = request.differs.get(name) or request.differs.get("all", "")
                told = [directive for directive in self.report if line and line in directive]
                if not told:
                    outcome.silent.append(f"{request}: {name}: {self.case.kind} {was!r}, unstick {is_now!r}")
                elif told[0] not in outcome.told:
                    outcome.told.append(told[0])
            for name in set(request.differs) - {"all"} - {name for name, _, _ in found}:
                outcome.silent.append(f"{request}: {name} is said to differ, and does not")
        return outcome

    def planted(self) -> list[str]:
        """Plants each fault, and returns those that were not found."""
        file = self.folder / "ours" / "unstick.toml"
        whole = file.read_text()
        missed = []
        for was, becomes, expected in PLANTS:
            if was not in whole:
                raise SetupError(f"nothing can be planted: no `{was}` in {file}")
            file.write_text(whole.replace(was, becomes))
            if expected not in self.outcome().fields:
                missed.append(f"`{becomes}` was not found in {expected}")
        file.write_text(whole)
        return missed

    def close(self) -> None:
        for replica in self.replicas.values():
            replica.shutdown()
            replica.server_close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "target" / "release" / "unstick"
    parser.add_argument("--program", type=Path, default=default, metavar="PATH", help="(target/release/unstick)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this folder; may be repeated")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what was imported, and the logs, there")
    parser.add_argument("--verbose", action="store_true", help="also what the report says of each config")
    return parser.parse_args()


def tried(trial: Trial, args: argparse.Namespace) -> Outcome:
    """Tries a config, and prints what came. One that does not start is told as a difference."""
    try:
        outcome = trial.outcome()
    except SetupError as error:
        outcome = Outcome(silent=[str(error)])
    case = trial.case
    print(f"{case.name:<14} {case.kind:<8} {len(case.requests):>3} requests  {outcome}", flush=True)
    for line in outcome.silent:
        print(f"    {line}")
    if args.verbose:
        print("".join(f"    told: {line}\n" for line in trial.report), end="")
    return outcome


def found_planted(trial: Trial) -> bool:
    """Whether every planted fault was found; if not, this run could miss a difference."""
    try:
        missed = trial.planted()
    except SetupError as error:
        missed = [str(error)]
    print("\n".join(missed) if missed else f"{len(PLANTS)} of {len(PLANTS)} planted faults were found", flush=True)
    return not missed


def main() -> int:
    args = arguments()
    if line := missing():
        raise SetupError(f"nginx and HAProxy are needed: {line}")
    if not args.program.exists():
        raise SetupError(f"{args.program} does not exist: cargo build --release, or --program")
    cases = [Case.read(folder) for folder in sorted(FOLDER.iterdir()) if folder.is_dir()]
    if unknown := set(args.only or []) - {case.name for case in cases}:
        raise SetupError(f"there is no {', '.join(sorted(unknown))} in {FOLDER}")
    # The one in which faults are planted comes first, and always.
    cases.sort(key=lambda case: (case.name != PLANTED_IN, case.name))
    cases = [case for case in cases if not args.only or case.name in args.only or case.name == PLANTED_IN]
    with tempfile.TemporaryDirectory(prefix="beside-") as temporary:
        folder = args.keep or Path(temporary)
        if args.keep:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        is_able, outcomes = True, []
        for case in cases:
            with closing(Trial(case, args.program.resolve(), folder / case.name)) as trial:
                outcomes.append(tried(trial, args))
                if case.name == PLANTED_IN:
                    is_able = found_planted(trial)
    alike = sum(not outcome.silent and not outcome.told for outcome in outcomes)
    silent = sum(bool(outcome.silent) for outcome in outcomes)
    print(f"{alike} of {len(outcomes)} alike, {len(outcomes) - alike - silent} as told, {silent} silently different")
    if not is_able:
        return 2
    return int(silent > 0 or alike < ALIKE_MIN and not args.only)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
