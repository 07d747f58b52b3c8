"""A shop on Flask."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from flask import Flask, Response, redirect, request, send_from_directory
from werkzeug import Response as BaseResponse

STATIC = Path(__file__).with_name("static")
app = Flask(__name__)
gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)


@app.get("/")
def home() -> Response:
    return Response("hello", mimetype="text/plain")


@app.get("/json")
def json() -> dict[str, str]:
    return {"name": request.args["name"]}


@app.get("/numbers")
def numbers() -> Response:
    def lines() -> Iterator[str]:
        for first in range(0, 200_000, 10_000):
            yield "".join(f"{n}\n" for n in range(first, first + 10_000))

    return Response(lines(), mimetype="text/plain")


@app.get("/gates/<key>")
def wait(key: str) -> Response:
    def lines() -> Iterator[str]:
        yield "waiting\n"
        gates[key].wait()
        yield "open\n"

    return Response(lines(), mimetype="text/plain")


@app.post("/gates/<key>")
def open_gate(key: str) -> tuple[str, int]:
    gates[key].set()
    return "", 204


@app.post("/upload")
def upload() -> dict[str, int | str]:
    size, digest = 0, hashlib.sha256()
    while piece := request.stream.read(65_536):
        size += len(piece)
        digest.update(piece)
    return {"size": size, "sha256": digest.hexdigest()}


@app.post("/form")
def form() -> dict[str, int | str | None]:
    file = request.files["file"]
    content = file.read()
    return {
        "note": request.form["note"],
        "name": file.filename,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@app.get("/login")
def login() -> BaseResponse:
    response = redirect("/whoami", 303)
    response.set_cookie("user", "ann", httponly=True)
    response.set_cookie("theme", "dark")
    return response


@app.get("/whoami")
def whoami() -> Response:
    return Response(f"{request.cookies.get('user')} likes it {request.cookies.get('theme')}", mimetype="text/plain")


@app.get("/fail")
def fail() -> str:
    raise RuntimeError("the password is 1729")


@app.get("/files/<path:name>")
def files(name: str) -> Response:
    return send_from_directory(STATIC, name)
