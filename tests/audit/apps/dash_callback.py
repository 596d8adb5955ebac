import sys
from dash import Dash, html, dcc, Input, Output

a = Dash()
a.layout = html.Div([dcc.Input(id="i"), html.Div(id="o")])


@a.callback(Output("o", "children"), Input("i", "value"))
def f(v):
    return f"got {v}"


a.run(host="127.0.0.1", port=int(sys.argv[1]), debug=False)
