"""Plays a journey once, its steps placed on replicas, and says for each step whether it went right.

This knows what the journeys of this directory need: requests, captures, cookies, repetitions and WebSockets.
"""

from __future__ import annotations

import http.client
import json
import re
import tomllib
import urllib.parse
import uuid
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path

from .websocket import WebSocket

KNOWN = set("name request headers json form body multipart capture expect must_contain repeat until".split())
KNOWN |= set("actor websocket on send receive".split())
REQUEST_S = 20
BODY_SHOWN = 60


@dataclass
class Response:
    status: int
    fields: list[tuple[str, str]]
    body: str
    is_whole: bool = True

    def __str__(self) -> str:
        return str(self.status) if self.is_whole else f"{self.status}, the body breaks off"


class Wrong(Exception):
    """A step did not go right. The text says what came."""


def read(file: Path) -> list[dict]:
    """The steps of a journey. A step with `repeat` stands there as often as it may be done."""
    steps = []
    for step in tomllib.loads(file.read_text())["step"]:
        if unknown := step.keys() - KNOWN:
            raise ValueError(f"{file}: this player does not know {', '.join(sorted(unknown))}")
        count = step.get("repeat", 1)
        steps += [step | {"last": number == count - 1} for number in range(count)]
    return steps


class Run:
    """One run of a journey."""

    def __init__(self, steps: list[dict], host: str) -> None:
        self.steps, self.host = steps, host
        self.values = {"unique": uuid.uuid4().hex[:12]}
        self.cookies: dict[str, dict[str, str]] = {}
        self.open: dict[str, WebSocket] = {}
        self.done: set[str] = set()  # steps that repeat no more

    def play(self, ports: list[int]) -> tuple[int, str] | None:
        """Plays step n on the n-th port. Returns the step that went wrong first and what came, or None."""
        try:
            for number, (step, port) in enumerate(zip(self.steps, ports, strict=True)):
                try:
                    if step["name"] not in self.done:
                        self.step(step, port)
                except (Wrong, OSError, http.client.HTTPException) as error:
                    return number, str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
        finally:
            for socket in self.open.values():
                socket.close()
        return None

    def step(self, step: dict, port: int) -> None:
        if "request" in step:
            self.judge(step, self.request(step, port))
            return
        if "websocket" in step:
            cookies = self.cookies.get(step.get("actor", "a"), {})
            self.open[step["name"]] = WebSocket(port, self.host, self.fill(step["websocket"]), cookies)
        self.talk(step, self.open[step.get("on", step["name"])])

    def fill(self, text):
        """Fills the gaps of a text, or of all texts in a value."""
        if isinstance(text, dict):
            return {key: self.fill(value) for key, value in text.items()}
        if isinstance(text, list):
            return [self.fill(value) for value in text]
        if not isinstance(text, str):
            return text
        return re.sub(r"\{\{(\w+)\}\}", lambda gap: self.values[gap[1]], text)

    def request(self, step: dict, port: int) -> Response:
        method, target = self.fill(step["request"]).split(" ", 1)
        fields = {"Host": self.host} | self.fill(step.get("headers", {}))
        jar = self.cookies.setdefault(step.get("actor", "a"), {})
        if jar:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        media_type, body = self.content(step)
        if media_type and "content-type" not in {name.lower() for name in fields}:
            fields["Content-Type"] = media_type
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_S)
        try:
            connection.request(method, target, body, fields)
            response = received(connection.getresponse())
        finally:
            connection.close()
        keep_cookies(jar, response)
        return response

    def content(self, step: dict) -> tuple[str, bytes | None]:
        if "json" in step:
            return "application/json", json.dumps(self.fill(step["json"])).encode()
        if "form" in step:
            return "application/x-www-form-urlencoded", urllib.parse.urlencode(self.fill(step["form"])).encode()
        if "multipart" in step:
            return multipart(self.fill(step["multipart"]))
        return "", self.fill(step["body"]).encode() if "body" in step else None

    def judge(self, step: dict, response: Response) -> None:
        """Whether the response is right by what the journey says; takes the values that it captures."""
        wanted, until = step.get("expect", {}).get("status"), step.get("until", {}).get("status")
        if response.status == until:
            self.done.add(step["name"])
            return
        if response.status != wanted if wanted else response.status >= 400:
            raise Wrong(f"{response}{shown(response.body)}")
        if not response.is_whole:
            raise Wrong(str(response))
        for text in self.fill(step.get("must_contain", [])):
            if text not in response.body:
                raise Wrong(f"{response} without {text!r}{shown(response.body)}")
        if until and step["last"]:
            raise Wrong(f"{response} where {until} was due")
        for name, source in step.get("capture", {}).items():
            self.values[name] = captured(source, response)

    def talk(self, step: dict, socket: WebSocket) -> None:
        for text in self.fill(step.get("send", [])):
            socket.send(text)
        if receive := step.get("receive"):
            wanted = self.fill(receive["until"]).removeprefix("regex:")
            came = socket.receive(re.compile(wanted), float(receive["within"].removesuffix("s")))
            if came is not None:
                raise Wrong(f"nothing that matches {wanted!r}; what came: {came}")


def received(response: http.client.HTTPResponse) -> Response:
    try:
        body, is_whole = response.read(), True
    except http.client.IncompleteRead as error:
        body, is_whole = error.partial, False
    return Response(response.status, response.getheaders(), body.decode(errors="replace"), is_whole)


def keep_cookies(jar: dict[str, str], response: Response) -> None:
    for name, value in response.fields:
        if name.lower() == "set-cookie":
            for cookie in SimpleCookie(value).values():
                jar[cookie.key] = cookie.coded_value


def multipart(parts: list[dict]) -> tuple[str, bytes]:
    edge, text = uuid.uuid4().hex, ""
    for part in parts:
        file = f'; filename="{part["filename"]}"' if "filename" in part else ""
        media_type = f"Content-Type: {part['type']}\r\n" if "type" in part else ""
        head = f'Content-Disposition: form-data; name="{part["name"]}"{file}\r\n{media_type}'
        text += f"--{edge}\r\n{head}\r\n{part['content']}\r\n"
    return f"multipart/form-data; boundary={edge}", f"{text}--{edge}--\r\n".encode()


def captured(source: str, response: Response) -> str:
    kind, _, rest = source.partition(":")
    if kind == "regex" and (found := re.search(rest, response.body)):
        return found[1] if found.re.groups else found[0]
    if kind == "header":
        for name, value in response.fields:
            if name.lower() == rest.lower():
                return value
    if kind == "json":
        value = json.loads(response.body)
        for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", rest.removeprefix("$")):
            value = value[key] if key else value[int(index)]
        return str(value)
    raise Wrong(f"{response} without what {source} takes from it{shown(response.body)}")


def shown(body: str) -> str:
    text = " ".join(body.split())
    return f": {text[:BODY_SHOWN]}{'...' if len(text) > BODY_SHOWN else ''}" if text else ""
