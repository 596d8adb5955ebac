"""In which fields two proxies differ, for one request.

Not compared, because docs/import.md ("What is always different") says so of every import:

- `Date`, `Server`, `Via`, `X-Request-Id`, and what only frames a message: `Connection`, `Keep-Alive`,
  `Transfer-Encoding`, `Content-Length`, `TE`. Bodies are compared without their frames.
- towards replicas: `Forwarded`, and `X-Forwarded-*` and `X-Real-IP` where the other proxy sends none, or just what the
  client has written.
- in responses of a proxy's own: `X-Unstick-Error`, `Cache-Control`, `Retry-After`; the validators of files (`ETag`,
  `Last-Modified`, `Accept-Ranges`); and of the built-in page of an error or a redirect the words, and their type.
- scheme and host of a `Location` that has none, the case of its host, and the port of the listener in it.
- fields that a rule adds to responses, in an error of unstick's own: HAProxy adds them to those of replicas only.
- 503 of HAProxy and 502 of unstick, where no replica accepted a connection.
"""

import re
from collections import defaultdict

from lib.wire import Request, Response

FRAMES = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "date", "server", "via"}
OF_RESPONSE = FRAMES | {"x-request-id", "x-unstick-error"}
OF_OWN = {"cache-control", "retry-after", "etag", "last-modified", "accept-ranges"}
OF_REQUEST = FRAMES | {"x-request-id", "forwarded", "x-beside"}
ADDED = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix", "x-real-ip"}
BUILT_IN = re.compile(r"<center>(nginx|openresty)|^<html><body><h1>\d{3} ")

Difference = tuple[str, object, object]


def by_name(fields: list[tuple[str, str]], but: set[str]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for name, value in fields:
        if name not in but:
            found[name].append(value)
    return dict(found)


def unequal(what: str, other: dict, ours: dict) -> list[Difference]:
    names = sorted(set(other) | set(ours))
    return [(f"{what} {n}", other.get(n), ours.get(n)) for n in names if other.get(n) != ours.get(n)]


def responses(kind: str, request: Request, other: Response, ours: Response, is_own: bool) -> list[Difference]:
    """`kind` is the other proxy; `is_own`: no replica has sent the response."""
    is_built_in = is_own and is_plain(other) and is_plain(ours)
    but = OF_RESPONSE | (OF_OWN if is_own else set())
    if is_built_in:
        but |= {"content-type"}
    found = []
    if other.status != ours.status and (is_own, other.status, ours.status) != (True, "503", "502"):
        found.append(("status", other.status, ours.status))
    theirs, own = by_name(other.fields, but), by_name(ours.fields, but)
    if kind == "haproxy" and is_own and "x-unstick-error" in dict(ours.fields):
        own = {name: values for name, values in own.items() if name in theirs}
    for fields in theirs, own:
        if "location" in fields:
            fields["location"] = [whole(request, value) for value in fields["location"]]
    found += unequal("response", theirs, own)
    if other.body != ours.body and not is_built_in:
        found.append(("body", other.body[:200], ours.body[:200]))
    return found


def is_plain(response: Response) -> bool:
    """Whether nobody has written what is said: a built-in page, or none."""
    names = {name for name, _ in response.fields}
    is_ours = "x-unstick-error" in names and response.body.startswith(dict(response.fields)["x-unstick-error"] + ":")
    return not response.body or is_ours or BUILT_IN.search(response.body) is not None


def whole(request: Request, location: str) -> str:
    """A location with scheme and host, in lower case and without the port of the listener."""
    if location.startswith("/"):
        location = f"http://{request.host.split(':')[0]}{location}"
    authority = re.match(r"https?://[^/?#]*", location)
    end = authority.end() if authority else 0
    return location[:end].lower().replace(":listener", "") + location[end:]


def received(request: Request, other: list[dict], ours: list[dict]) -> list[Difference]:
    """What the last replica got that was asked: those before did not accept or were to be asked again."""
    if bool(other) != bool(ours):
        return [("replicas", [record["pool"] for record in other], [record["pool"] for record in ours])]
    found = []
    for theirs, own in zip(other[-1:], ours[-1:]):
        found += unequal("replica:", without_fields(theirs), without_fields(own))
        sent, got = by_name(theirs["fields"], OF_REQUEST), by_name(own["fields"], OF_REQUEST)
        written = by_name([(name.lower(), value) for name, value in request.fields], set())
        own_words = {name for name in ADDED if sent.get(name) == written.get(name)}
        for fields in sent, got:
            for name in own_words:
                fields.pop(name, None)
        found += unequal("request", sent, got)
    return found


def without_fields(record: dict) -> dict:
    return {name: value for name, value in record.items() if name != "fields"}
