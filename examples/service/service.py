"""Serves the recognizer over HTTP; images that come while others are read are read together, in one batch.

    python -m pip install . -r examples/service/requirements.txt
    uvicorn --app-dir examples/service service:app
    curl --data-binary @drawing.png "http://127.0.0.1:8000/read?top=3"

Set KANJI_MODEL to read with another model than the pretrained one.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, HTTPException, Query, Request

import kanjinet

MAX_BATCH = 32  # images at a time: with more, the first of them wait longer, and none is read faster
MAX_WAITING = 512  # images; more are refused at once, so that nobody waits for seconds
MAX_BODY_BYTES = 16 << 20
MAX_TOP = 100

Seen = npt.NDArray[np.uint8]


class Batcher:
    """Reads in one batch what has come while the last one was read."""

    def __init__(self, recognizer: kanjinet.Recognizer) -> None:
        self.recognizer = recognizer
        self.batches = 0
        self._waiting: asyncio.Queue[tuple[Seen, asyncio.Future[kanjinet.Candidates]]]
        self._waiting = asyncio.Queue(MAX_WAITING)

    async def read(self, seen: Seen) -> kanjinet.Candidates:
        """Returns the MAX_TOP candidates of a prepared image.

        Raises:
            asyncio.QueueFull: too many wait already.
        """
        found: asyncio.Future[kanjinet.Candidates] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((seen, found))
        return await found

    async def run(self) -> None:
        """Reads until it is cancelled."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MAX_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            self.batches += 1
            images: list[Seen | None] = [seen for seen, _ in batch]
            try:
                lists = await asyncio.to_thread(self.recognizer.list_candidates, images, MAX_TOP)
            except Exception as error:  # each of those who wait gets it, and the next batch is read
                for _, found in batch:
                    if not found.cancelled():
                        found.set_exception(error)
                continue
            for (_, found), candidates in zip(batch, lists, strict=True):
                if not found.cancelled():  # whose client has gone
                    found.set_result(candidates)


@asynccontextmanager
async def start(app: FastAPI) -> AsyncIterator[None]:
    app.state.batcher = Batcher(kanjinet.load(os.environ.get("KANJI_MODEL")))
    running = asyncio.create_task(app.state.batcher.run())
    yield
    running.cancel()


app = FastAPI(title="Kanji reader", lifespan=start)


@app.post("/read")
async def read(request: Request, top: Annotated[int, Query(ge=1, le=MAX_TOP)] = 5) -> dict[str, Any]:
    """Returns the candidates for the character in the image that is sent, and whether it is none of the model's."""
    batcher: Batcher = request.app.state.batcher
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"an image has at most {MAX_BODY_BYTES >> 20} MiB here")
    try:
        seen = await asyncio.to_thread(batcher.recognizer.prepare, bytes(body), "the image")
        candidates = kanjinet.Candidates() if seen is None else await batcher.read(seen)
    except kanjinet.KanjinetError as error:
        raise HTTPException(422, str(error)) from error
    except asyncio.QueueFull as error:
        raise HTTPException(503, "too many images wait: ask again later", {"Retry-After": "1"}) from error
    return {"candidates": [asdict(candidate) for candidate in candidates[:top]], "is_none": candidates.is_none}


@app.get("/status")
async def status(request: Request) -> dict[str, int]:
    """Returns how many batches were read."""
    return {"batches": request.app.state.batcher.batches}
