import sys
from fastmcp import FastMCP

m = FastMCP("x")


@m.tool
def add(a: int, b: int) -> int:
    return a + b


m.run(
    transport="http",
    host="127.0.0.1",
    port=int(sys.argv[1]),
    path="/mcp",
    **({"stateless_http": True} if sys.argv[2] == "1" else {}),
)
