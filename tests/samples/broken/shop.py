"""A shop that is broken on purpose: its database client is not installed."""

import shopdb  # there is no such package

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": shopdb.hello()})
