import sys, os
from flask import Flask, session, jsonify, request

kind, port, secret, folder = sys.argv[1:5]
app = Flask(__name__)
app.secret_key = secret
if kind == "flask-session":
    from flask_session import Session
    from cachelib.file import FileSystemCache

    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(cache_dir=folder))
    Session(app)


@app.get("/login")
def login():
    session["user"] = request.args["u"]
    return jsonify(ok=1)


@app.get("/me")
def me():
    return (jsonify(user=session["user"]), 200) if "user" in session else (jsonify(error="no"), 401)


app.run("127.0.0.1", int(port))
