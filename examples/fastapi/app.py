"""A web app that hands runs over and hears back by callbacks.

CALLBACK_SECRET=whsec_… CALLBACK_URL=http://127.0.0.1:9000/knouds uvicorn app:app --port 9000
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from knouds_worker_client import AsyncClient, InvalidCallback, verify_callback

SECRET = os.environ["CALLBACK_SECRET"]  # that of KNOUDS_CALLBACK_SECRET
pictures: dict[str, dict[str, Any]] = {}  # in an app: a table
newest: dict[str, int] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for all requests."""
    async with AsyncClient() as client:
        app.state.knouds = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/pictures/{name}", status_code=202)
async def order(name: str, request: Request) -> dict[str, Any]:
    """Enqueue a run, under an id of the app's own: the same order is one job."""
    body = await request.json()
    pictures.setdefault(name, {"state": "queued"})
    await request.app.state.knouds.enqueue_job(
        kind="model",
        target="gpt-image-2",
        inputs=body,
        id=f"picture-{name}",
        metadata={"picture": name},
        callback_url=os.environ["CALLBACK_URL"],
    )
    return pictures[name]


@app.get("/pictures/{name}")
async def show(name: str) -> dict[str, Any]:
    """A picture as the last callback left it."""
    if name not in pictures:
        raise HTTPException(404, f"there is no picture {name}")
    return pictures[name]


@app.post("/knouds", status_code=204)
async def receive(request: Request) -> Response:
    """Take a callback: check who sent it, and of two of a job believe the later one."""
    body = await request.body()  # the bytes as they came: another JSON text has another signature
    try:
        callback = verify_callback(SECRET, request.headers, body)
    except InvalidCallback as error:
        raise HTTPException(400, str(error)) from None
    job = callback.job
    if job is not None and callback.sequence > newest.get(job.id, 0):
        newest[job.id] = callback.sequence
        name = job.id.removeprefix("picture-")
        pictures[name] = {"state": job.state, "result": job.result}
    return Response(status_code=204)  # a duplicate, too: 2xx ends its tries
