"""An ASGI app that answers with what it was given."""

import asyncio
import json
import os

from answers import ANSWERS

smuggled = 0
released = None


async def app(scope, receive, send):
    global smuggled, released
    if scope["type"] != "http":
        return
    path = scope["path"]
    if "smuggled" in path:
        smuggled += 1
    if path.startswith("/answer/"):
        await answer(send, *ANSWERS[path.removeprefix("/answer/")])
        return
    if path == "/ignore":
        await reply(send, b"ignored")
        return
    if path == "/pulse":
        await reply(send, json.dumps({"pid": os.getpid(), "smuggled": smuggled}).encode())
        return
    if path == "/big":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(int(scope["query_string"])):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        await send({"type": "http.response.body"})
        return
    if path in {"/hold", "/release"}:
        released = released or asyncio.Event()
        if path == "/release":
            released.set()
            released = None
        else:
            await released.wait()
        await reply(send, b"released")
        return
    body, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event["body"]
        more = event["more_body"]
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("latin-1"),
    }
    await reply(send, json.dumps(seen).encode())


async def reply(send, body):
    fields = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def answer(send, status, fields, pieces):
    if status is not None:
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        await send({"type": "http.response.start", "status": status, "headers": fields})
    for piece in pieces:
        if piece is None:
            raise RuntimeError("the app raised in the middle")
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})
