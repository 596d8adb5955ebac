#!/usr/bin/env python3
"""Third-party notices: the licence texts of every crate that is linked into `unstick`.

    packaging/notices.py > THIRD-PARTY-NOTICES.txt
    packaging/notices.py --no-default-features > THIRD-PARTY-NOTICES.txt      # for the lean build

A package contains this file beside the binary. It is made when a package is made and not checked in. Whatever only
takes part in the build (build scripts, procedural macros, tests) is not in the binary and not listed. A text that
several crates share is printed once, under all their names. Exit 1 if a crate comes without any licence text.
Needs Python 3.9, cargo, and the crates of Cargo.lock (`cargo fetch --locked`); nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = re.compile(r"(un)?licen[cs]e|copying|copyright|notice", re.IGNORECASE)
# C code that a crate brings along under a licence of its own. SQLite is in the public domain and has no text.
BUNDLED = {
    "aws-lc-sys": ["aws-lc/LICENSE", "aws-lc/third_party/fiat/LICENSE"],
    "libmimalloc-sys": ["c_src/mimalloc/v2/LICENSE", "c_src/mimalloc/v3/LICENSE"],
}
# What others have written and this repository carries along.
VENDORED = {"unstick-uplot"}
RULE = "=" * 80


def host() -> str:
    """The target triple that cargo builds for unless told otherwise."""
    said = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return next(line.removeprefix("host: ") for line in said.splitlines() if line.startswith("host: "))


def cargo(*command: str) -> str:
    command = ["cargo", *command, "--locked", "--offline"]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def linked(target: str, features: list[str]) -> list[dict]:
    """The packages that end up in the binary."""
    # `cargo metadata` knows where the sources are, but joins the features that tests need to those of the binary.
    edges = "--edges=normal,no-proc-macro"
    tree = cargo("tree", edges, "--prefix=none", "--format={p}", f"--target={target}", *features)
    names = {tuple(line.split()[:2]) for line in tree.splitlines()}
    packages = json.loads(cargo("metadata", "--format-version=1"))["packages"]
    foreign = [one for one in packages if one["source"] or one["name"] in VENDORED]
    found = [one for one in foreign if (one["name"], f"v{one['version']}") in names]
    return sorted(found, key=lambda one: (one["name"], one["version"]))


def texts(package: dict) -> list[str]:
    """Every licence text in a crate, its own ones and those of bundled C code."""
    folder = Path(package["manifest_path"]).parent
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and TEXT.match(file.name)]
    files += [folder / name for name in BUNDLED.get(package["name"], [])]
    return [file.read_text(errors="replace").strip() for file in files]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default=None, metavar="TRIPLE", help="default: this machine")
    parser.add_argument("--features", default=None, metavar="LIST")
    parser.add_argument("--no-default-features", action="store_true")
    args = parser.parse_args()
    features = ["--no-default-features"] if args.no_default_features else []
    features += ["--features", args.features] if args.features else []
    packages = linked(args.target or host(), features)

    users, missing = defaultdict(list), []
    for package in packages:
        found = texts(package)
        if not found:
            missing.append(package["name"])
        for text in found:
            users[text].append(f"{package['name']} {package['version']}")
    if missing:
        print(f"no licence text in: {', '.join(missing)}", file=sys.stderr)
        return 1

    print(f"unstick contains {len(packages)} third-party crates and the Rust standard library (MIT OR Apache-2.0).")
    print("What each crate is licensed under:\n")
    for package in packages:
        print(f"{package['name']} {package['version']}: {package['license']}  {package['repository'] or ''}".rstrip())
    for text, names in users.items():
        print(f"\n{RULE}\n{', '.join(names)}\n{RULE}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
