import sys
from flask import Flask, request
from flask_limiter import Limiter

a = Flask(__name__)
l = Limiter(lambda: request.headers.get("X-User", "-"), app=a)


@a.get("/hit")
@l.limit("3 per minute")
def hit():
    return "ok"


a.run("127.0.0.1", int(sys.argv[1]))
