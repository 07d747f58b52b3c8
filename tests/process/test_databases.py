"""The outage that the way back is there for: the database is down when the app starts, and comes up later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.conftest import own_address
from tests.process import services
from tests.process.knocking import Knocking
from tests.process.recovering import TRIED, good, started, talkative, times_back

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Starter
    from tests.process.services import Service

#: Start-ups as their documentation has them.
CONNECTS = {
    "postgresql": """
        import asyncpg
        pool = await asyncpg.create_pool("postgresql://shop@{host}:{port}/postgres", min_size=1)
        assert await pool.fetchval("select 40 + 2") == 42
        await pool.close()
""",
    "redis": """
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        async with redis.asyncio.Redis(host="{host}", port={port}, retry=Retry(NoBackoff(), 0)) as client:
            await client.ping()
""",
}


@pytest.fixture(scope="module", params=["postgresql", "redis"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    if request.param == "redis":
        pytest.importorskip("redis")
        yield services.redis()
    else:
        pytest.importorskip("asyncpg")
        with services.postgresql() as found:
            yield found


@pytest.mark.parametrize("form", ["one", "workers"])
def test_a_database_that_is_down_at_the_start_and_then_up_brings_the_app_up(
    arun: Starter, service: Service, form: str
) -> None:
    """By its cause alone: no file changes, and no clock leads to a try."""
    host, _, port = own_address().rpartition(":")
    arun.write("shop.py", good(startup=CONNECTS[service.name].format(host=host, port=port).strip()))
    instance = started(arun, form, "shop.py", "--bind", "{address}", "--recover", "cause", *talkative(arun))
    assert set(instance.failures()) == {"app-startup-failed"}
    with Knocking(instance, arun.address) as client:
        client.wait_for("be right back")
        instance.wait_for(TRIED)
        with service.run(host, int(port)):
            client.wait_for("good")
            assert set(client.statuses) == {"503", "200"}
            assert set(client.more(50)) == {"200"}
    assert times_back(instance) == 1
