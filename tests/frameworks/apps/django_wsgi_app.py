"""A shop on Django, with plain views."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.static import serve

STATIC = Path(__file__).with_name("static")
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="secret",
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
)
gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello", content_type="text/plain")


def json(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"name": request.GET["name"]})


def numbers(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        for first in range(0, 200_000, 10_000):
            yield "".join(f"{n}\n" for n in range(first, first + 10_000))

    return StreamingHttpResponse(lines(), content_type="text/plain")


def gate(request: HttpRequest, key: str) -> HttpResponse | StreamingHttpResponse:
    def lines() -> Iterator[str]:
        yield "waiting\n"
        gates[key].wait()
        yield "open\n"

    if request.method == "POST":
        gates[key].set()
        return HttpResponse(status=204)
    return StreamingHttpResponse(lines(), content_type="text/plain")


def upload(request: HttpRequest) -> HttpResponse:
    size, digest = 0, hashlib.sha256()
    while piece := request.read(65_536):
        size += len(piece)
        digest.update(piece)
    return JsonResponse({"size": size, "sha256": digest.hexdigest()})


def form(request: HttpRequest) -> HttpResponse:
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
    return JsonResponse(
        {"note": request.POST["note"], "name": file.name, "size": file.size, "sha256": digest.hexdigest()}
    )


def login(request: HttpRequest) -> HttpResponse:
    response = HttpResponseRedirect("/whoami")
    response.set_cookie("user", "ann", httponly=True)
    response.set_cookie("theme", "dark")
    return response


def whoami(request: HttpRequest) -> HttpResponse:
    cookies = request.COOKIES
    return HttpResponse(f"{cookies.get('user')} likes it {cookies.get('theme')}", content_type="text/plain")


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the password is 1729")


urlpatterns = [
    path("", home),
    path("json", json),
    path("numbers", numbers),
    path("gates/<key>", gate),
    path("upload", upload),
    path("form", form),
    path("login", login),
    path("whoami", whoami),
    path("fail", fail),
    path("files/<path:path>", serve, {"document_root": STATIC}),
]
application = get_wsgi_application()
