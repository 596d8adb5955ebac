"""The HTTP/1.1 of replica.py: one request, and the answer to it."""

from urllib.parse import parse_qsl, urlsplit

PIECE = 64 * 1024


class Exchange:
    def __init__(self, raw, reader, writer):
        self.raw, self.reader, self.writer = raw, reader, writer
        line, *fields = raw.decode("latin-1").split("\r\n")[:-2]
        self.method, target, _ = line.split(" ")
        self.path = urlsplit(target).path
        self.query = dict(parse_qsl(urlsplit(target).query))
        self.fields = [(name.lower(), value.strip()) for name, _, value in (f.partition(":") for f in fields)]
        self.body = self.pieces()
        self.last = self.field("connection") == "close"  # on this connection
        self.withheld = self.field("expect") == "100-continue"  # the client sends the body only when asked for it

    def field(self, name):
        return ", ".join(value for key, value in self.fields if key == name).lower()

    def invite(self):
        """Asks for a body that is withheld. Who answers while it still reads must do so before the answer."""
        if self.withheld:
            self.withheld = False
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def pieces(self):
        """The request body, as it arrives."""
        self.invite()
        chunked = self.field("transfer-encoding") == "chunked"
        left = 0 if chunked else int(self.field("content-length") or 0)
        while left or chunked:
            if not left:
                left = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
                if not left:
                    while (await self.reader.readuntil(b"\r\n")).strip():
                        pass  # request trailers
                    return
            piece = await self.reader.read(min(left, PIECE))
            if not piece:
                raise ConnectionResetError("the request body was cut")
            left -= len(piece)
            yield piece  # before the end of its chunk is read: some clients send that with the next one
            if chunked and not left:
                await self.reader.readexactly(2)

    async def answer(self, text, *fields, status="200 OK", kind="text/plain"):
        async def once():
            yield text.encode()

        await self.stream(once(), f"content-type: {kind}", *fields, length=len(text.encode()), status=status)

    async def stream(self, pieces, *fields, length=None, trailers=None, status="200 OK"):
        """Sends `pieces`, chunked unless their length is known. `trailers` is called after the last one."""
        if self.withheld:
            self.last = True  # nobody will ask for the body any more, so nobody knows whether it comes
        if self.last:
            fields = ("connection: close", *fields)
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        self.writer.write("\r\n".join([f"HTTP/1.1 {status}", framing, *fields, "", ""]).encode())
        if self.method == "HEAD":
            return await self.writer.drain()
        async for piece in pieces:
            self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if length is None else piece)
            await self.writer.drain()
        if length is None:
            self.writer.write("\r\n".join(["0", *(trailers() if trailers else []), "", ""]).encode())
        await self.writer.drain()
