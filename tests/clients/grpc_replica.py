"""A gRPC replica (h2c) to stand behind the proxy. Messages are raw bytes, so no protoc is needed.

python3 grpc_replica.py --port 3001 --name a    # prints `ready` when it listens, finishes what it has at SIGTERM

test.Echo/Unary          NAME + b" " + payload
test.Echo/ServerStream   payload "N MS": N messages "NAME i", one every MS ms
test.Echo/ClientStream   all messages, joined
test.Echo/Bidi           each message, as soon as it arrives
test.Echo/Fail           payload "N CODE": N messages, then status CODE with details and trailing metadata
test.Echo/Slow           sleeps until it is cancelled, which it notes for its payload
test.Echo/Cancelled      how many Slow calls with this payload were cancelled here
test.Echo/Deadline       the remaining time in seconds that the call has here, or b"none"
test.Echo/Metadata       the metadata as they arrived, one `key: value` a line
test.Echo/SetHealth      payload SERVING or NOT_SERVING: what the next health checks answer
grpc.health.v1.Health/Check
"""

import argparse, asyncio, collections, signal

import grpc

HEALTH = {b"SERVING": b"\x08\x01", b"NOT_SERVING": b"\x08\x02"}  # HealthCheckResponse: field 1, varint
GRACE_S = 5
OPTIONS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.so_reuseport", 0)]


class Echo:
    def __init__(self, name):
        self.name, self.cancelled, self.health = name.encode(), collections.Counter(), b"SERVING"

    async def unary(self, payload, context):
        return self.name + b" " + payload

    async def server_stream(self, payload, context):
        n, ms = map(int, payload.split())
        for i in range(n):
            yield b"%b %d" % (self.name, i)
            await asyncio.sleep(ms / 1000)

    async def client_stream(self, payloads, context):
        return b"".join([payload async for payload in payloads])

    async def bidi(self, payloads, context):
        async for payload in payloads:
            yield payload

    async def fail(self, payload, context):
        n, code = payload.decode().split()
        for i in range(int(n)):
            yield b"%d" % i
        metadata = (("x-reason", "on purpose"), ("x-blob-bin", bytes(range(256))))
        await context.abort(grpc.StatusCode[code], "failed, as asked: 100 % \N{SNOWMAN}", metadata)

    async def slow(self, payload, context):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled[payload] += 1
            raise

    async def cancelled_so_far(self, payload, context):
        return b"%d" % self.cancelled[payload]

    async def deadline(self, payload, context):
        remaining_s = context.time_remaining()
        return b"none" if remaining_s is None else b"%f" % remaining_s

    async def metadata(self, payload, context):
        return "\n".join(f"{key}: {value}" for key, value in context.invocation_metadata()).encode()

    async def set_health(self, payload, context):
        if payload not in HEALTH:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "SERVING or NOT_SERVING")
        self.health = payload
        return self.name

    async def check(self, payload, context):
        return HEALTH[self.health]

    def handlers(self):
        unary = grpc.unary_unary_rpc_method_handler
        echo = {
            "Unary": unary(self.unary),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
            "Fail": grpc.unary_stream_rpc_method_handler(self.fail),
            "Slow": unary(self.slow),
            "Cancelled": unary(self.cancelled_so_far),
            "Deadline": unary(self.deadline),
            "Metadata": unary(self.metadata),
            "SetHealth": unary(self.set_health),
        }
        health = {"Check": unary(self.check)}
        return [
            grpc.method_handlers_generic_handler("test.Echo", echo),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
        ]


async def run(port, name):
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(Echo(name).handlers())
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await stopping.wait()
    await server.stop(GRACE_S)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="see the head of this file")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--name", required=True)
    given = arguments.parse_args()
    asyncio.run(run(given.port, given.name))
