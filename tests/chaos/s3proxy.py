"""What if the store answers badly, late, or not at all? An HTTP proxy in front of S3 that misbehaves on purpose.

Each service gets a listener of its own (`proxy.listen("executor-a")`), so a fault can be meant for one of them. Faults
are rules with a predicate (who, which operation, which key, which match) and a budget; nothing is random but by the
rule's own seed. Host and headers go through as they came, so signatures stay valid.

    rule = proxy.add(Rule("status", operation="UploadPart", status=503, times=3))
    held = proxy.add(Rule("hold", operation="PutObject", key=r"_backsight/intent\\.json$", times=1))
    held.wait(30)        # until a request stands there
    held.release()       # it goes on; release(drop=True) resets it instead

Actions: `status` (answered here), `reset` (before it is passed on), `lost` (passed on and done, the answer is reset),
`delay`, `slow` (the answer's body at a rate), `truncate` (half of the answer's body, then a reset), `corrupt` (every byte
of the answer's body changed), `hold` (before it is passed on), `hold_answer` (passed on and done, the answer waits).
"""
import asyncio
import random
import re
import socket
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

HEAD_BYTES_MAX = 64 << 10
CHUNK_BYTES = 64 << 10
UPSTREAM_SECONDS_MAX = 120
LOG_MAX = 20_000
ACTIONS = {"status", "reset", "lost", "delay", "slow", "truncate", "corrupt", "hold", "hold_answer"}
NAMES = {403: "AccessDenied", 404: "NoSuchKey", 409: "ConditionalRequestConflict", 500: "InternalError", 503: "SlowDown"}


def operation_of(method, query):
    """The S3 operation that a request asks for."""
    if "uploads" in query:
        return "CreateUpload" if method == "POST" else "ListUploads"
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "POST": "CompleteUpload", "DELETE": "AbortUpload"}
        return names.get(method, "ListParts")
    if "list-type" in query or (method == "GET" and "prefix" in query):
        return "List"
    if "delete" in query:
        return "DeleteObjects"
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}.get(method, method)


@dataclass
class Rule:
    """One kind of fault, on which requests, how often."""

    action: str
    operation: str = ""
    """A regular expression over `operation_of`; empty is any."""
    key: str = ""
    """A regular expression searched in the object's key, or in a listing's prefix."""
    via: str = ""
    """A regular expression over the listener that it came in by; empty is any."""
    skip: int = 0
    """Matching requests that are let through first."""
    times: int = 1_000_000
    """The budget: faults of this rule, not more."""
    probability: float = 1.0
    seed: int = 0
    status: int = 503
    seconds: float = 0.0
    bytes_per_second: int = 0
    hits: int = 0
    hit_via: str = ""
    """Who was hit first."""
    matches: int = 0
    _random: random.Random = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _hit: threading.Event = field(default_factory=threading.Event, repr=False)
    _held: list = field(default_factory=list, repr=False)
    _open: bool = False
    _drop: bool = False

    def __post_init__(self):
        assert self.action in ACTIONS, self.action
        self._random = random.Random(self.seed)

    def takes(self, request):
        """Whether this request is its next victim; counts."""
        if self.via and not re.fullmatch(self.via, request.via):
            return False
        if self.operation and not re.fullmatch(self.operation, request.operation):
            return False
        if self.key and not re.search(self.key, request.key):
            return False
        with self._lock:
            self.matches += 1
            if self.matches <= self.skip or self.hits >= self.times or self._open:
                return False
            if self.probability < 1.0 and self._random.random() >= self.probability:
                return False
            self.hits += 1
            self.hit_via = self.hit_via or request.via
        self._hit.set()
        return True

    def wait(self, seconds):
        """Waits until it has hit a request. Whether it has."""
        return self._hit.wait(seconds)

    def release(self, drop=False):
        """Lets held requests go on (or resets them), and holds no more."""
        with self._lock:
            self._open, self._drop = True, drop
            held, self._held = self._held, []
        for loop, event in held:
            loop.call_soon_threadsafe(event.set)

    async def _stand(self):
        """Holds the calling request; whether it is to be dropped."""
        event = asyncio.Event()
        with self._lock:
            if self._open:
                return self._drop
            self._held.append((asyncio.get_running_loop(), event))
        await event.wait()
        return self._drop


@dataclass
class Request:
    """A request as rules see it."""

    via: str
    method: str
    target: str
    operation: str
    key: str
    head: bytes
    body: bytes


class Proxy:
    """Runs in a thread of its own; every method may be called from any thread."""

    def __init__(self, endpoint):
        self.upstream = urllib.parse.urlsplit(endpoint)
        self.rules, self.log, self.problems = [], [], []
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="s3proxy", daemon=True)
        self._thread.start()
        self._listeners = {}

    def listen(self, via):
        """The endpoint for one service; the same name again is the same endpoint."""
        if via not in self._listeners:
            self._listeners[via] = self._call(self._listen(via))
        return self._listeners[via]

    def add(self, rule):
        with self._lock:
            self.rules.append(rule)
        return rule

    def clear(self):
        """Back to a faultless store: rules go, held requests go on. Returns how often each rule has hit."""
        with self._lock:
            rules, self.rules = self.rules, []
        for rule in rules:
            rule.release()
        return [(rule.action, rule.hits) for rule in rules]

    def count(self, operation="", key="", via="", since=0):
        """How many requests of a kind came since that place in the log."""
        return sum(
            1
            for _, seen_via, seen_operation, seen_key, _, _ in self.log[since:]
            if (not via or via == seen_via)
            and (not operation or re.fullmatch(operation, seen_operation))
            and (not key or re.search(key, seen_key))
        )

    def close(self):
        self.clear()

        async def stop():
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        self._call(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self, via):
        server = await asyncio.start_server(
            lambda reader, writer: self._serve(via, reader, writer), "127.0.0.1", 0, limit=HEAD_BYTES_MAX
        )
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, via, reader, writer):
        """One client connection: request after request."""
        try:
            while (request := await read_request(via, reader)) is not None:
                if not await self._answer(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        except asyncio.CancelledError:
            pass
        except Exception as error:  # A fault of the proxy must not pass for one of the store.
            self.problems.append(f"{via}: {error!r}")
        finally:
            writer.close()

    async def _answer(self, request, writer):
        """Answers one request, well or badly. Whether the connection goes on."""
        with self._lock:
            rules = [rule for rule in self.rules if rule.takes(request)]
        actions = {rule.action: rule for rule in rules}
        status = await self._handle(request, writer, actions)
        if len(self.log) < LOG_MAX:
            named = ",".join(actions)
            self.log.append((time.time(), request.via, request.operation, request.key, status, named))
        return status != "reset"

    async def _handle(self, request, writer, actions):
        if "delay" in actions:
            await asyncio.sleep(actions["delay"].seconds)
        if "hold" in actions and await actions["hold"]._stand():
            return reset(writer)
        if "reset" in actions:
            return reset(writer)
        if "status" in actions:
            status = actions["status"].status
            await send(writer, refusal(request, status))
            return status
        head, body = await asyncio.wait_for(self._pass_on(request), UPSTREAM_SECONDS_MAX)
        if "hold_answer" in actions and await actions["hold_answer"]._stand():
            return reset(writer)
        if "lost" in actions:
            return reset(writer)
        status = int(head.split(b" ", 2)[1])
        if "corrupt" in actions and status < 300 and body:
            body = corrupted(body)
        if "truncate" in actions and len(body) > 1:
            writer.write(head + body[: len(body) // 2])
            await writer.drain()
            return reset(writer)
        rate = actions["slow"].bytes_per_second if "slow" in actions else 0
        await send(writer, head, body, rate)
        return status

    async def _pass_on(self, request):
        """The store's answer, whole: (head, body)."""
        reader, writer = await asyncio.open_connection(
            self.upstream.hostname, self.upstream.port or 80, limit=HEAD_BYTES_MAX
        )
        try:
            writer.write(request.head + request.body)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            while status == 100:
                head = await reader.readuntil(b"\r\n\r\n")
                status = int(head.split(b" ", 2)[1])
            if request.method == "HEAD" or status in (204, 304):
                return head, b""
            fields = header_fields(head)
            if "chunked" in fields.get("transfer-encoding", "").lower():
                return head, await read_chunked(reader)
            if "content-length" in fields:
                return head, await reader.readexactly(int(fields["content-length"]))
            return head, await reader.read(-1)
        finally:
            writer.close()


async def read_request(via, reader):
    """The next request of a connection; `None` at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    fields = header_fields(head)
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = await read_chunked(reader)
    else:
        body = await reader.readexactly(int(fields.get("content-length", "0")))
    path, _, text = target.partition("?")
    query = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
    operation = operation_of(method, query)
    # `/bucket/key`; a listing is known by its prefix, a bulk delete by the keys in its body.
    key = urllib.parse.unquote(path).lstrip("/").partition("/")[2] or query.get("prefix", "")
    if operation == "DeleteObjects":
        key = " ".join(found.decode() for found in re.findall(rb"<Key>(.*?)</Key>", body))
    return Request(via, method, target, operation, key, head, body)


async def read_chunked(reader):
    """A chunked body with its framing, so that it can be passed on as it came."""
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        parts.append(line)
        size = int(line.split(b";")[0], 16)
        parts.append(await reader.readexactly(size + 2))
        if size == 0:
            return b"".join(parts)


def header_fields(head):
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def refusal(request, status):
    """An answer as S3 would give it."""
    name = NAMES.get(status, "InternalError")
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{name}</Code><Message>injected</Message><RequestId>chaos</RequestId></Error>"
    ).encode()
    length = len(body)
    if request.method == "HEAD":
        body = b""
    head = f"HTTP/1.1 {status} {name}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


def corrupted(body):
    """The same length and no byte as it was: page headers and footers cannot be read, whichever part this is."""
    return bytes(255 - byte for byte in body)


async def send(writer, head, body=b"", bytes_per_second=0):
    writer.write(head)
    step = min(CHUNK_BYTES, bytes_per_second // 10 or 1) if bytes_per_second else CHUNK_BYTES
    for start in range(0, len(body), step):
        writer.write(body[start : start + step])
        await writer.drain()
        if bytes_per_second:
            await asyncio.sleep(step / bytes_per_second)
    await writer.drain()


def reset(writer):
    """Ends a connection so that the client sees a reset, not an end."""
    plain = writer.get_extra_info("socket")
    if plain is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return "reset"
