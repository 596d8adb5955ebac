"""A strict client beside wrk: checks status and body of every response, and notices a request that never ends."""

from __future__ import annotations

import http.client
import threading
import time


class Witness:
    """Keep-alive GETs on a few connections until `stop`; failures are kept as text."""

    def __init__(
        self, port: int, body: bytes, connections: int = 4, deadline_s: float = 5, pause_s: float = 0.01
    ) -> None:
        self.port, self.body, self.deadline_s, self.pause_s = port, body, deadline_s, pause_s
        self.requests, self.failures = 0, []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.deadline_s)
        while not self._stop.is_set():
            failure = None
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200 or body != self.body:
                    error = answer.getheader("x-unstick-error")
                    failure = f"status {answer.status}, {len(body)} bytes, x-unstick-error: {error}"
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
                connection.close()  # http.client connects again
            with self._lock:
                self.requests += 1
                if failure:
                    self.failures.append(failure)
            time.sleep(self.pause_s)
        connection.close()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self.deadline_s + 1)
