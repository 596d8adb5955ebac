import sys
from nicegui import ui


@ui.page("/")
def p():
    ui.label("hi")


ui.run(host="127.0.0.1", port=int(sys.argv[1]), reload=False, show=False, storage_secret="x")
