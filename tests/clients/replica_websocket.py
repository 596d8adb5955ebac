"""The WebSocket of replica.py: an echo that can say its name, send ticks, and close with a code that the client asks
for."""

import asyncio, time

from websockets.extensions.permessage_deflate import enable_server_permessage_deflate
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Echo:
    def __init__(self, exchange, name, stopping):
        self.exchange, self.name, self.stopping = exchange, name, stopping
        self.ws = ServerProtocol(
            extensions=enable_server_permessage_deflate(None),
            subprotocols=["echo"],
            select_subprotocol=lambda _, offered: "echo" if "echo" in offered else None,
            max_size=16 << 20,
        )

    async def serve(self):
        self.ws.receive_data(self.exchange.raw)
        self.ws.send_response(self.ws.accept(self.ws.events_received()[0]))
        self.flush()
        beside = [asyncio.create_task(self.ticks()), asyncio.create_task(self.going_away())]
        try:
            await self.read()
        finally:
            for task in beside:
                task.cancel()

    async def read(self):
        parts = []
        while data := await self.exchange.reader.read(64 * 1024):
            self.ws.receive_data(data)
            for frame in self.ws.events_received():
                if frame.opcode in DATA:
                    parts.append(frame)
                    if frame.fin and self.ws.state is State.OPEN:
                        self.message(parts[0].opcode, b"".join(part.data for part in parts))
                        parts.clear()
            self.flush()
            await self.exchange.writer.drain()

    def message(self, opcode, data):
        if opcode is Opcode.BINARY:
            self.ws.send_binary(data)
        elif data.startswith(b"close "):
            _, code, why = data.decode().split(" ", 2)
            self.ws.send_close(int(code), why)
        else:
            self.ws.send_text(self.name.encode() if data == b"whoami" else data)

    async def ticks(self):
        every_ms = int(self.exchange.query.get("tick", 0))
        while every_ms and self.ws.state is State.OPEN:
            self.ws.send_text(b"tick %d" % time.monotonic_ns())
            self.flush()
            await asyncio.sleep(every_ms / 1000)

    async def going_away(self):
        await self.stopping.wait()
        if self.ws.state is State.OPEN:
            self.ws.send_close(1001, "going away")
            self.flush()

    def flush(self):
        for data in self.ws.data_to_send():
            if data:
                self.exchange.writer.write(data)
            else:  # both sides have said that they close; it is for the server to close the connection
                self.exchange.writer.close()
