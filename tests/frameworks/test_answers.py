"""What every web app does: pages, JSON, cookies, redirects, files, and the page for what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.frameworks.conftest import REPORT, each

if TYPE_CHECKING:
    import httpx
    from tests.conftest import Instance
    from tests.frameworks.conftest import Framework


@each()
def test_a_page_and_its_head(framework: Framework, client: httpx.Client) -> None:
    page = client.get("/")
    assert (page.status_code, page.text) == (200, "hello")
    assert page.headers["content-type"].startswith("text/plain")
    head = client.head("/")
    assert head.content == b""
    assert client.get("/").text == "hello", "a HEAD must not leave a body for the next answer"
    if head.status_code == 405:
        assert framework.name in {"fastapi", "litestar", "falcon_asgi", "falcon_wsgi"}, (
            "they ask for a route of its own"
        )


@each()
def test_a_query_is_decoded_by_the_framework(client: httpx.Client) -> None:
    assert client.get("/json", params={"name": "Zoë & 王"}).json() == {"name": "Zoë & 王"}


@each()
def test_a_path_that_is_not_there_is_404_and_a_wrong_method_405(framework: Framework, client: httpx.Client) -> None:
    assert client.get("/nowhere").status_code == 404
    if not framework.name.startswith("django"):  # its views take any method
        assert client.get("/upload").status_code == 405


@each()
def test_an_answer_without_content_has_none(client: httpx.Client) -> None:
    answer = client.post("/gates/unused")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "transfer-encoding" not in answer.headers
    assert client.get("/").text == "hello"


@each()
def test_an_error_of_the_app_is_500_without_details_and_the_connection_goes_on(
    client: httpx.Client, shop: Instance
) -> None:
    answer = client.get("/fail")
    assert answer.status_code == 500
    assert "1729" not in answer.text + str(answer.headers)
    assert "Traceback" not in answer.text
    assert client.get("/").text == "hello"
    assert shop.process.poll() is None


@each()
def test_cookies_come_back_after_a_redirect(framework: Framework, client: httpx.Client) -> None:
    answer = client.get("/login")
    assert answer.status_code == (302 if framework.name.startswith("django") else 303)
    assert answer.headers["location"] == "/whoami"
    assert len(answer.headers.get_list("set-cookie")) == 2, "each cookie has a field of its own"
    client.cookies.clear()
    assert client.get("/login", follow_redirects=True).text == "ann likes it dark"


@each()
def test_a_static_file_is_sent_whole(client: httpx.Client) -> None:
    answer = client.get("/files/report.txt")
    assert (answer.status_code, answer.content) == (200, REPORT.read_bytes())
    assert answer.headers["content-type"].startswith("text/plain")


@each()
def test_a_static_file_that_the_client_has_is_not_sent_again(framework: Framework, client: httpx.Client) -> None:
    first = client.get("/files/report.txt")
    validators = {"etag": "if-none-match", "last-modified": "if-modified-since"}
    known = {asked: first.headers[given] for given, asked in validators.items() if given in first.headers}
    assert known
    again = client.get("/files/report.txt", headers=known)
    if framework.name == "litestar":  # it sends validators and does not look at them
        assert again.status_code == 200
    else:
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/").text == "hello"


@each("ranges")
def test_a_part_of_a_static_file(client: httpx.Client) -> None:
    answer = client.get("/files/report.txt", headers={"range": "bytes=100-299"})
    size = REPORT.stat().st_size
    assert (answer.status_code, answer.content) == (206, REPORT.read_bytes()[100:300])
    assert answer.headers["content-range"] == f"bytes 100-299/{size}"
    assert client.get("/files/report.txt", headers={"range": f"bytes={size}-"}).status_code == 416


@each("starts")
def test_what_the_start_up_made_is_there_for_requests(client: httpx.Client) -> None:
    assert client.get("/started").text == "warm"
