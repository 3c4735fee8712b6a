"""The web application of the dashboard: what a browser, Prometheus and `decoupled top` on another host are told about one run.

It is a process of its own that reads the run's folder. A slow browser, or none, costs the workers nothing.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from decoupled.config import Fault
from decoupled.watch.follow import Follower
from decoupled.watch.prometheus import CONTENT_TYPE, exposition

PAGE = Path(__file__).parent / "page"
LOOK_EVERY_S = 0.1
PAUSE_S = 5.0
GRACE_S = 0.5  # for a stream to end when the server does
HEADERS = {
    b"content-security-policy": b"default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-cache",
}

Order: TypeAlias = Callable[[Fault], None]


def application(follower: Follower, hosts: list[str], order: Order | None = None) -> Starlette:
    """The page, its data and /metrics, for browsers that ask for one of these hosts; with `order`, buttons to break things."""
    server = _Server(follower, order)
    routes = [
        Route("/api/run", server.run),
        Route("/api/now", server.now),
        Route("/api/events", server.events),
        Route("/api/workers/{stage}/{what}", server.fault, methods=["POST"]),
        Route("/metrics", server.metrics),
        Route("/healthz", server.health),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_Careful)]
    return Starlette(routes=routes, middleware=middleware, lifespan=server.lifespan)


class _Careful:
    """Tells browsers to load nothing from elsewhere, and to guess nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS.items()]
            await send(message)

        await self._app(scope, receive, with_headers)


class _Server:
    def __init__(self, follower: Follower, order: Order | None) -> None:
        self._follower, self._order = follower, order

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Reads on for as long as the server runs."""
        reading = asyncio.create_task(self._read_on())
        yield
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading

    async def _read_on(self) -> None:
        while True:
            has_more = self._follower.refresh()  # reads a small part of a local file
            await asyncio.sleep(0 if has_more else LOOK_EVERY_S)

    def _whole(self, told: dict[str, Any]) -> dict[str, Any]:
        return told | {"allows_faults": self._order is not None}

    async def run(self, request: Request) -> Response:
        return JSONResponse(self._whole(self._follower.so_far()))

    async def now(self, request: Request) -> Response:
        return JSONResponse(self._whole(self._follower.now()))

    async def events(self, request: Request) -> Response:
        """Server-sent events, each with all that is new. Who is slow misses moments in between, and nothing piles up."""

        ending = anyio.Event()  # of the server: the last news go out, and the stream ends as it should

        async def updates() -> AsyncIterator[dict[str, str]]:
            history = self._follower.history
            seen: tuple[object, ...] = ()
            known = history.epochs, history.events_number, history.cells_end
            is_last = False
            while not is_last:
                is_last = ending.is_set()
                here = (history.number, history.events_number, self._follower.state, self._follower.failure)
                if here != seen:
                    update = self._whole(self._follower.since(*known))
                    seen, known = here, (history.epochs, history.events_number, history.cells_end)
                    yield {"event": "now", "data": json.dumps(update, allow_nan=False)}
                with anyio.move_on_after(LOOK_EVERY_S):
                    await ending.wait()

        return EventSourceResponse(updates(), shutdown_event=ending, shutdown_grace_period=GRACE_S)

    async def fault(self, request: Request) -> Response:
        """Kills a worker, or stops it for a while. Only for this very page: other sites can send no JSON without asking first."""
        if self._order is None:
            return JSONResponse({"error": "Start the run with --allow-faults to break things from here."}, 403)
        is_ours = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
        if not is_ours or request.headers.get("content-type") != "application/json":
            return JSONResponse({"error": "Only the page itself may ask for that."}, 403)
        last = self._follower.history.last
        stages = {str(worker.stage): worker.stage for worker in last.workers} if last is not None else {}
        stage = stages.get(request.path_params["stage"])
        if self._follower.state == "finished" or stage is None:
            return JSONResponse({"error": "There is no such worker now."}, 409)
        match request.path_params["what"]:
            case "kill":
                self._order(Fault(kind="kill", stage=stage))
            case "pause":
                self._order(Fault(kind="stop", stage=stage, seconds=PAUSE_S))
            case _:
                return JSONResponse({"error": "A worker can be asked to kill or pause itself."}, 404)
        return JSONResponse({}, 202)

    async def metrics(self, request: Request) -> Response:
        return Response(exposition(self._follower.now(), self._follower.history.totals()), media_type=CONTENT_TYPE)

    async def health(self, request: Request) -> Response:
        if self._follower.failure is not None:
            return PlainTextResponse(f"{self._follower.failure}\n", 500)
        return PlainTextResponse(f"{self._follower.state}\n")
