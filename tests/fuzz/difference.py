"""Random conversations with the compiled build and with the pure one: the same bytes must give the same, and crash neither.

``python -m tests.fuzz.difference SECONDS FOLDER COMPILED PURE [SEED]``: the last two are folders with an installed arun each, the
first of which keeps what was found. It ends with status 1 for a difference or a crash.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.hostile import cases_conversation, cases_fields, cases_framing, cases_lines

__all__ = ("WAYS", "Build", "Maker", "compare")

#: Conversations that are under way with each build at a time.
_BATCH = 200
#: Differences after which a run ends: they will have one cause.
_ENOUGH = 20
#: Ways to serve that build.py knows.
WAYS = 10
_HANDSHAKE = (
    b"GET /%b HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
_DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
_WORDS: tuple[bytes, ...] = (
    b"raise",
    b"late",
    b"longer",
    b"length",
    b"close",
    b"date",
    b"wrong",
    b"path",
    b"204",
    b"304",
    b"500",
    b"early",
)
_WORDS += (b"write", b"deny", b"%20", b"%e4", b"%2F", b"..", b"?a=b", b"#", b"")
_FIELDS = (
    b"X-Forwarded-For: 203.0.113.7, 10.0.0.1",
    b"X-Forwarded-For: [2001:db8::1]:80",
    b"X-Forwarded-Proto: https",
    b'Forwarded: for="[2001:db8::1]:47011";proto=https',
    b"Connection: keep-alive",
    b"Connection: close, x-a",
    b"Expect: 100-continue",
    b"TE: trailers",
    b"Cookie: a=b",
    b"Cookie: c=d",
    b'User-Agent: \xe4 "quoted" \\',
    b"Referer: http://a/",
    b"Content-Type: text/plain; charset=utf-8",
    b"X-Under_score: 1",
    b"Upgrade: h2c",
)
#: Those that make most requests invalid.
_FRAMING = (
    b"Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Host: b",
)
_TOKENS: tuple[bytes, ...] = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b"0\r\n\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"\x80",
)
_TOKENS += (b"FFFFFFFFFFFFFFFF", b"-1", b"+3", b"3;a=b", b'a="\\""', b",", b"chunked", b"identity", *_FIELDS, *_FRAMING)


#: Words for what an app may get wrong, or right in another way.
_WORDS += (
    b"array",
    b"view",
    b"number",
    b"textual",
    b"nobody",
    b"null",
    b"subclass",
    b"lists",
    b"generator",
    b"float",
    b"true",
)


class Build:
    """A process of a build; it is started anew when it has died."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        environ = {**os.environ, "PYTHONPATH": f"{self._folder}{os.pathsep}{os.getcwd()}", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.fuzz.build"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            text=True,
        )
        self.file: str = json.loads(self._line())["file"]

    def hold(self, conversations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what came of conversations; ``{"crash": STATUS}`` for one of which the process has died, and nothing behind it."""
        # In a thread: both pipes are short, and the process answers while it is still asked.
        asking = threading.Thread(target=self._ask, args=(conversations,))
        asking.start()
        found: list[dict[str, Any]] = []
        for _ in conversations:
            if not (line := self._line()):
                found.append({"crash": self._process.wait()})
                break
            found.append(json.loads(line))
        asking.join()
        if len(found) < len(conversations) or "crash" in found[-1]:
            self._start()
        return found

    def _ask(self, conversations: list[dict[str, Any]]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what did not come says so
            self._process.stdin.write("".join(json.dumps(one) + "\n" for one in conversations))
            self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Maker:
    """It makes conversations: known ones, well-formed ones, websockets, and all of these mutated and cut at random places."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - dice, no secret
        tables = (cases_lines, cases_fields, cases_framing, cases_conversation)
        known = (case for table in tables for case in table.CASES)
        texts = (b"".join(piece for piece in case.pieces if isinstance(piece, bytes)) for case in known)
        self._known = [text for text in texts if text and len(text) < 20_000]

    def conversation(self) -> dict[str, Any]:
        """Return the next one."""
        dice = self._random
        data = b"".join(self._part() for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 6))))
        for _ in range(dice.choice((0, 0, 0, 0, 0, 1, 1, 2, 4, 8))):
            data = self._mutated(data)
        return {
            "way": dice.randrange(WAYS),
            "half_close": dice.random() < 0.7,
            "pieces": [base64.b64encode(piece).decode() for piece in self._cut(data)],
        }

    def _part(self) -> bytes:
        dice = self._random.random()
        if dice < 0.15:
            return self._random.choice(self._known)
        return self._request() if dice < 0.7 else self._websocket()

    def _request(self) -> bytes:
        dice = self._random
        method = dice.choice((b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"FOO"))
        path = b"/" + b"/".join(dice.choices(_WORDS, k=dice.randrange(4)))
        version = dice.choice((b"1.1", b"1.1", b"1.1", b"1.0"))
        fields = [b"Host: a", *dice.choices(_FIELDS, k=dice.choice((0, 1, 2, 7)))]
        if dice.random() < 0.05:
            fields.append(dice.choice(_FRAMING))
        body = dice.randbytes(dice.choice((0, 3, 19, 70, 3000)))
        if dice.random() < 0.5:
            fields.append(b"Content-Length: %d" % len(body))
        elif dice.random() < 0.7:
            fields.append(b"Transfer-Encoding: chunked")
            size = dice.choice((1, 7, 100, 5000))
            chunks = (body[begin : begin + size] for begin in range(0, len(body), size))
            trailers = dice.choice((b"", b"", b"X-Trailer: 1\r\n", b"Content-Length: 5\r\n"))
            body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"
        else:
            body = b""
        dice.shuffle(fields)
        return b"%b %b HTTP/%b\r\n%b\r\n\r\n%b" % (method, path, version, b"\r\n".join(fields), body)

    def _websocket(self) -> bytes:
        dice = self._random
        more = b"".join(field + b"\r\n" for field in dice.choices(_FIELDS, k=dice.choice((0, 0, 1))))
        more += dice.choice((b"", _DEFLATE, b"Sec-WebSocket-Protocol: a, b\r\n"))
        handshake = _HANDSHAKE % (b"/".join(dice.choices(_WORDS, k=2)), more)
        return handshake + b"".join(self._frame() for _ in range(dice.randrange(7)))

    def _frame(self) -> bytes:
        dice = self._random
        opcode = dice.choice((0, 1, 1, 1, 2, 2, 8, 9, 10, 3, 11))
        first = opcode | dice.choice((0x80, 0x80, 0x80, 0)) | dice.choice((0, 0, 0, 0, 0x40, 0x20))
        text = dice.choice(
            (b"", b"hello", b"raise", b"close", b"\xc3\xa4" * 70, b"\xff", b"\x03\xe8bye", b"\x03", b"a" * 66_000)
        )
        payload = text if dice.random() < 0.8 else dice.randbytes(dice.randrange(200))
        key, size = dice.randbytes(4), len(payload)
        length = (
            bytes((0x80 | size,))
            if size < 126
            else b"\xfe" + size.to_bytes(2, "big")
            if size < 65_536
            else b"\xff" + size.to_bytes(8, "big")
        )
        pad = key * (size // 4 + 1)
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad[:size], "big")).to_bytes(size, "big")
        return bytes((first,)) + length + key + masked

    def _mutated(self, data: bytes) -> bytes:
        dice = self._random
        place = dice.randrange(len(data) + 1)
        until = min(len(data), place + dice.choice((1, 1, 2, 8, 40)))
        how = dice.randrange(6)
        if how == 0:
            return data[:place] + data[until:]
        if how == 1:
            return data[:place] + data[place:until] * 2 + data[until:]
        if how == 2:
            return data[:place] + dice.choice(_TOKENS) + data[place:]
        if how == 3:
            return data[:place] + bytes((dice.randrange(256),)) + data[place + 1 :]
        if how == 4:
            return data[:place]
        swapped = data[place:until].swapcase()
        return data[:place] + swapped + data[until:]

    def _cut(self, data: bytes) -> list[bytes]:
        dice = self._random
        if dice.random() < 0.1 and len(data) < 500:
            return [data[place : place + 1] for place in range(len(data))]
        places = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice((0, 1, 1, 2, 3, 8))))
        return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True) if begin < end]


def compare(conversations: list[dict[str, Any]], builds: list[Build]) -> list[dict[str, Any]]:
    """Hold conversations with both builds; return those that ended differently, or with a fault, with what came of them."""
    with ThreadPoolExecutor() as pool:
        came = list(pool.map(Build.hold, builds, [conversations] * 2))
    found = [
        {"conversation": conversation, "compiled": compiled, "pure": pure}
        for conversation, compiled, pure in zip(conversations, *came, strict=False)
        if compiled != pure or "crash" in compiled or compiled["faults"] or compiled["raised"]
    ]
    if (done := min(len(answers) for answers in came)) < len(conversations):  # one has died
        found += compare(conversations[done:], builds)
    return found


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Compare for as long as the command line says, tell, and keep what was found."""
    seconds, folder, *places = sys.argv[1:5]
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else random.SystemRandom().randrange(1 << 32)
    builds = [Build(place) for place in places]
    _say(f"seed {seed}; {builds[0].file} and {builds[1].file}")
    if builds[0].file.endswith(".py") or not builds[1].file.endswith(".py"):
        raise SystemExit("the first build shall be compiled, the second one pure")
    maker, held, found = Maker(seed), 0, 0
    os.makedirs(folder, exist_ok=True)
    begin = said = time.monotonic()
    while (now := time.monotonic()) < begin + float(seconds) and found < _ENOUGH:
        for difference in compare([maker.conversation() for _ in range(_BATCH)], builds):
            found += 1
            path = os.path.join(folder, f"difference-{seed}-{found}.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(difference, file, indent=1)
            _say(f"a difference: {path}")
        held += _BATCH
        if now > said + 60:
            said = now
            _say(f"{held:,} conversations in {now - begin:,.0f} s")
    for build in builds:
        build.end()
    _say(f"{held:,} conversations in {time.monotonic() - begin:,.0f} s, {found} differences or crashes")
    raise SystemExit(found > 0)


if __name__ == "__main__":
    main()
