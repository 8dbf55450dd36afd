"""A read as most services do it today: FastAPI with Redis as the cache, one pipeline-free GET per request on a pooled connection."""

import os

from fastapi import FastAPI, HTTPException, Response
from redis.asyncio import Redis

app = FastAPI(openapi_url=None)
cache = Redis.from_url(os.environ["CACHE_URL"])


@app.get("/data/{key}")
async def read(key: str) -> Response:
    value = await cache.get(key)
    if value is None:
        raise HTTPException(404)
    return Response(value, media_type="application/json")


@app.get("/storm/{key}")
async def read_through(key: str) -> Response:
    """Cache-aside: a miss loads and sets, however many miss at the same time."""
    value = await cache.get(key)
    if value is None:
        await cache.incr("loads")
        value = await cache.get(f"origin:{key}")
        if value is None:
            raise HTTPException(404)
        await cache.set(key, value)
    return Response(value, media_type="application/json")
