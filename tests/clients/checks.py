"""What the Python clients share: their arguments, and one line per check."""

import argparse, asyncio, inspect, ssl, sys, time

PATTERN = bytes(range(251)) * 256  # the bytes of the replica's /bytes, over and over


def arguments(doc, *switches, **options):
    """--base and --ca, and what a client has besides: `switches` are on or off, `options` have a default."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="http://HOST:PORT or https://HOST:PORT")
    parser.add_argument("--ca", help="a PEM file with the certificate that vouches for the server's")
    for name in switches:
        parser.add_argument(f"--{name}", action="store_true")
    for name, default in options.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    given = parser.parse_args()
    given.base = given.base.rstrip("/")
    return given


def tls(given):
    """The TLS context for an https base, else None."""
    return ssl.create_default_context(cafile=given.ca) if given.base.startswith("https:") else None


def expect(got, wanted, what="value"):
    if got != wanted:
        raise AssertionError(f"{what}: {got!r:.200} instead of {wanted!r:.200}")


def ensure(condition, why):
    if not condition:
        raise AssertionError(why)


async def within(seconds, condition):
    """Waits until `await condition()` is true."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not become true within {seconds} s")
        await asyncio.sleep(0.05)


async def run(checks, limit_s=180):
    """Runs [(name, async function)]; one that returns a text has it printed. Ends the program: 0 if all is right."""
    failed = 0
    for name, check in checks:
        try:
            note = await asyncio.wait_for(check(), limit_s)
            print(f"ok {name}" + (f" ({note})" if note else ""), flush=True)
        except Exception as error:
            failed += 1
            why = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"FAILED {name}: {why:.500}", flush=True)
    sys.exit(1 if failed else 0)


def methods(owner, *leave_out):
    """The checks of an object: its public async methods in the order in which they are written."""
    mine = [(name, f) for name, f in vars(type(owner)).items() if inspect.iscoroutinefunction(f) and name[0] != "_"]
    return [(name.replace("_", " "), f.__get__(owner)) for name, f in mine if name not in leave_out]
