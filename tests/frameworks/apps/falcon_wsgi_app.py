"""A shop on Falcon, with plain responders."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon

STATIC = Path(__file__).with_name("static")
gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)


class Home:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = "hello"

    def on_get_json(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"name": req.get_param("name", required=True)}

    def on_get_fail(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise RuntimeError("the password is 1729")


class Streams:
    def on_get_numbers(self, req: falcon.Request, resp: falcon.Response) -> None:
        def lines() -> Iterator[bytes]:
            for first in range(0, 200_000, 10_000):
                yield "".join(f"{n}\n" for n in range(first, first + 10_000)).encode()

        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = lines()

    def on_get_gate(self, req: falcon.Request, resp: falcon.Response, key: str) -> None:
        def lines() -> Iterator[bytes]:
            yield b"waiting\n"
            gates[key].wait()
            yield b"open\n"

        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = lines()

    def on_post_gate(self, req: falcon.Request, resp: falcon.Response, key: str) -> None:
        gates[key].set()
        resp.status = falcon.HTTP_204


class Uploads:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        size, digest = 0, hashlib.sha256()
        while piece := req.bounded_stream.read(65_536):
            size += len(piece)
            digest.update(piece)
        resp.media = {"size": size, "sha256": digest.hexdigest()}

    def on_post_form(self, req: falcon.Request, resp: falcon.Response) -> None:
        received: dict[str, Any] = {}
        for part in req.get_media():
            if part.name == "file":
                size, digest = 0, hashlib.sha256()
                while piece := part.stream.read(65_536):
                    size += len(piece)
                    digest.update(piece)
                received |= {"name": part.filename, "size": size, "sha256": digest.hexdigest()}
            else:
                received[part.name] = part.text
        resp.media = received


class Visitors:
    def on_get_login(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.set_cookie("user", "ann", secure=False)
        resp.set_cookie("theme", "dark", secure=False, http_only=False)
        raise falcon.HTTPSeeOther("/whoami")

    def on_get_whoami(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = f"{req.cookies.get('user')} likes it {req.cookies.get('theme')}"


app = falcon.App()
home, streams, uploads, visitors = Home(), Streams(), Uploads(), Visitors()
app.add_route("/", home)
app.add_route("/json", home, suffix="json")
app.add_route("/fail", home, suffix="fail")
app.add_route("/numbers", streams, suffix="numbers")
app.add_route("/gates/{key}", streams, suffix="gate")
app.add_route("/upload", uploads)
app.add_route("/form", uploads, suffix="form")
app.add_route("/login", visitors, suffix="login")
app.add_route("/whoami", visitors, suffix="whoami")
app.add_static_route("/files", STATIC)
