import sys, uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

port, secret = sys.argv[1:3]


async def login(r):
    r.session["user"] = r.query_params["u"]
    return JSONResponse({"ok": 1})


async def me(r):
    return JSONResponse({"user": r.session["user"]}) if "user" in r.session else JSONResponse({"error": "no"}, 401)


uvicorn.run(
    Starlette(
        routes=[Route("/login", login), Route("/me", me)], middleware=[Middleware(SessionMiddleware, secret_key=secret)]
    ),
    host="127.0.0.1",
    port=int(port),
    log_level="error",
)
