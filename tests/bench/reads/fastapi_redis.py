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
