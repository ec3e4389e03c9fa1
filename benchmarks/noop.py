"""The floor of `POST /emails`: an endpoint of the same stack that reads its body and does nothing."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def accept(request: Request) -> Response:
    await request.body()
    return JSONResponse({"id": "00000000-0000-0000-0000-000000000000"}, status_code=202)


async def ready(request: Request) -> Response:
    return JSONResponse({})


app = Starlette(routes=[Route("/emails", accept, methods=["POST"]), Route("/readyz", ready)])

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
