"""Proves with grpcio that gRPC works: all four kinds of call, status and trailing metadata, cancellation and deadlines
that reach the server, large messages, and that calls on one channel spread over the replicas.

    python3 client_grpc.py --base https://localhost:8443 --ca ca.pem
    python3 client_grpc.py --base http://localhost:8080

Behind the base there are replicas of grpc_replica.py. The check of the spread prints `counts {"a": 34, ...}`.
"""

import asyncio, collections, json, os, time, uuid

import grpc

from checks import arguments, ensure, expect, methods, run, within

MIB = 1 << 20


class Grpc:
    def __init__(self, channel):
        self.channel = channel

    def _unary(self, method, payload=b"", **more):
        return self.channel.unary_unary(f"/test.Echo/{method}")(payload, timeout=more.pop("timeout", 30), **more)

    async def unary(self):
        answer = await self._unary("Unary", b"hello")
        expect(answer.split(b" ", 1)[1], b"hello")

    async def server_stream(self):
        """Each message arrives when it is sent, not all of them at the end."""
        begin, at_s, messages = time.monotonic(), [], []
        async for message in self.channel.unary_stream("/test.Echo/ServerStream")(b"20 50", timeout=30):
            messages.append(message)
            at_s.append(time.monotonic() - begin)
        expect([m.split()[1] for m in messages], [b"%d" % i for i in range(20)])
        expect(len({m.split()[0] for m in messages}), 1, "number of names in one stream")
        ensure(at_s[0] < 0.5, f"the first message came after {at_s[0]:.2f} s, the last after {at_s[-1]:.2f}")

    async def client_stream(self):
        async def messages():
            for i in range(100):
                yield b"%d;" % i

        answer = await self.channel.stream_unary("/test.Echo/ClientStream")(messages(), timeout=30)
        expect(answer, b"".join(b"%d;" % i for i in range(100)))

    async def bidi(self):
        """Each answer is awaited before the next message is sent."""
        call = self.channel.stream_stream("/test.Echo/Bidi")(timeout=30)
        for i in range(50):
            await call.write(b"%d" % i)
            expect(await call.read(), b"%d" % i)
        await call.done_writing()
        expect(await call.read(), grpc.aio.EOF)
        expect(await call.code(), grpc.StatusCode.OK)

    async def status_and_trailing_metadata(self):
        for n, code in ((0, "PERMISSION_DENIED"), (3, "RESOURCE_EXHAUSTED"), (0, "UNAVAILABLE")):
            call, messages = self.channel.unary_stream("/test.Echo/Fail")(f"{n} {code}".encode(), timeout=30), []
            try:
                async for message in call:
                    messages.append(message)
            except grpc.aio.AioRpcError as error:
                expect((len(messages), error.code().name), (n, code))
                expect(error.details(), "failed, as asked: 100 % \N{SNOWMAN}")
            else:
                raise AssertionError(f"{code}: the call did not fail")
            metadata = dict(await call.trailing_metadata())
            expect((metadata.get("x-reason"), metadata.get("x-blob-bin")), ("on purpose", bytes(range(256))))

    async def unknown_method(self):
        expect(await self._code(self._unary("NoSuchMethod")), grpc.StatusCode.UNIMPLEMENTED)

    async def metadata_arrive(self):
        sent = (("x-one", "1"), ("x-two", "a"), ("x-two", "b"))
        seen = (await self._unary("Metadata", metadata=sent)).decode().split("\n")
        expect([line for line in seen if line.startswith("x-one")], ["x-one: 1"])
        two = ",".join(line.partition(": ")[2] for line in seen if line.startswith("x-two"))
        expect(two.replace(" ", ""), "a,b")

    async def cancellation_reaches_the_server(self):
        key = uuid.uuid4().hex.encode()
        call = self._unary("Slow", key)
        await asyncio.sleep(0.5)
        call.cancel()
        await within(10, lambda: self._cancelled(key))

    async def deadline(self):
        remaining_s = float(await self._unary("Deadline", timeout=5))
        ensure(3 < remaining_s < 5.2, f"the server sees {remaining_s} s of 5")  # the client rounds up
        key, begin = uuid.uuid4().hex.encode(), time.monotonic()
        expect(await self._code(self._unary("Slow", key, timeout=1)), grpc.StatusCode.DEADLINE_EXCEEDED)
        took_s = time.monotonic() - begin
        ensure(0.9 < took_s < 3, f"after {took_s:.2f} s instead of 1")
        await within(10, lambda: self._cancelled(key))
        return f"the server saw {remaining_s:.2f} s of 5"

    async def large_message(self):
        payload = os.urandom(3 * MIB)
        answer = await self._unary("Unary", payload)
        ensure(answer.split(b" ", 1)[1] == payload, "came back changed")
        call = self.channel.stream_stream("/test.Echo/Bidi")(timeout=60)
        for _ in range(5):
            await call.write(payload)
            ensure(await call.read() == payload, "came back changed")
        await call.done_writing()

    async def one_hundred_at_once(self):
        payloads = [b"%d " % i * 1000 for i in range(100)]
        answers = await asyncio.gather(*(self._unary("Unary", payload) for payload in payloads))
        expect([answer.split(b" ", 1)[1] for answer in answers], payloads)

    async def health(self):
        answer = await self.channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10)
        expect(answer, b"\x08\x01", "SERVING")

    async def spread_over_the_replicas(self):
        names = [(await self._unary("Unary", b"x")).split(b" ")[0].decode() for _ in range(100)]
        counts = collections.Counter(names)
        expect(sorted(counts), ["a", "b"], "who answered")
        ensure(min(counts.values()) >= 30, f"spread unevenly: {counts}")
        return f"counts {json.dumps(counts, sort_keys=True)}"

    async def _cancelled(self, key):
        """A call goes to one of several replicas, so this asks until the right one answers."""
        return await self._unary("Cancelled", key) != b"0"

    async def _code(self, call):
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error.code()


def channel(given):
    scheme, _, target = given.base.partition("://")
    if scheme == "http":
        return grpc.aio.insecure_channel(target)
    with open(given.ca, "rb") as roots:
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots.read()))


async def main():
    async with channel(arguments(__doc__)) as given:
        await run(methods(Grpc(given)))


if __name__ == "__main__":
    asyncio.run(main())
