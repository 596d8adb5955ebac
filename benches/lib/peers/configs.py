"""The configs of the products: the same listeners, replicas, kept connections, probes and fields, one thread each.

What a product does by default stays as it is, unless that would make it do less or more than the others. nginx before
1.23.4 speaks TLS 1.2 at most, in which a resumed session exchanges no key (RFC 5246 section 7.3).
"""

from __future__ import annotations

import json

from .setup import IDLE_UPSTREAMS, MAX_CONNECTIONS, Place, Setup

HAPROXY = """
global
    nbthread 1
    maxconn {connections}
    {log_target}
defaults
    mode http
    {log}
    option http-keep-alive
    http-reuse always
    option forwardfor
    timeout connect 2s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout client 75s
    timeout server 60s
    timeout tunnel 1h
frontend web
    bind 127.0.0.1:{place.plain} backlog 4096
    bind 127.0.0.1:{place.tls} backlog 4096 ssl crt {place.certificate} alpn h2,http/1.1
    bind 127.0.0.1:{place.h2c} backlog 4096 proto h2
    {routes}
    default_backend app
backend app
    balance {balance}
    {check}
    default-server check inter 2s fall 3 rise 2 pool-max-conn {idle} {protocol}
{servers}
"""

NGINX = """
daemon off;
master_process off;
pid {place.folder}/nginx.pid;
error_log {place.folder}/error.log;
events {{ worker_connections {connections}; }}
http {{
    access_log {log};
    default_type application/octet-stream;
    client_body_temp_path {place.folder}; proxy_temp_path {place.folder}; fastcgi_temp_path {place.folder};
    uwsgi_temp_path {place.folder}; scgi_temp_path {place.folder};
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    proxy_max_temp_file_size 0;
    ssl_certificate {place.certificate};
    ssl_certificate_key {place.certificate};
    ssl_protocols TLSv1.2 TLSv1.3;
    upstream app {{
        {balance}
{servers}
        keepalive {idle};
        keepalive_requests 1000000000;
    }}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    server {{
        listen 127.0.0.1:{place.plain} backlog=4096;
        listen 127.0.0.1:{place.tls} ssl http2 backlog=4096;
        listen 127.0.0.1:{place.h2c} http2 backlog=4096;
        location / {{ {passed}; }}
{routes}
    }}
}}
"""

CADDY = """
{{
    admin off
    auto_https off
    persist_config off
    default_sni localhost
    log {{
        output stderr
        level ERROR
    }}
    servers {{
        protocols h1 h2 h2c
    }}
}}
(app) {{
    bind 127.0.0.1
{log}
{routes}
    reverse_proxy {servers} {{
        import pool
    }}
}}
(pool) {{
    lb_policy {balance}
{check}
    transport http {{
        keepalive 75s
        keepalive_idle_conns_per_host {idle}
{versions}
    }}
}}
http://:{place.plain}, http://:{place.h2c} {{
    import app
}}
https://:{place.tls} {{
    tls {place.certificate} {place.certificate}
    import app
}}
"""


def haproxy(setup: Setup, place: Place) -> str:
    """`map_beg` is its way for many prefixes: a tree instead of a rule after the other."""
    routes = ""
    if setup.routes:
        prefixes = place.folder / "routes.map"
        prefixes.write_text("".join(f"/r/{number}/ app\n" for number in range(setup.routes)))
        routes = f"use_backend %[path,map_beg({prefixes})] if {{ path,map_beg({prefixes}) -m found }}"
    return HAPROXY.format(
        place=place,
        connections=MAX_CONNECTIONS,
        idle=IDLE_UPSTREAMS,
        log_target="log stdout format raw local0" if setup.access_log else "",
        log="log global\n    option httplog" if setup.access_log else "no log",
        routes=routes,
        balance="leastconn" if setup.least_connections else "roundrobin",
        check="" if setup.grpc or setup.echo else "option httpchk GET /",
        protocol="proto h2" if setup.grpc else "",
        servers="\n".join(f"    server s{number} {address}" for number, address in enumerate(place.upstreams)),
    )


def nginx(setup: Setup, place: Place) -> str:
    """It has no active probes."""
    passed = "grpc_pass grpc://app" if setup.grpc else "proxy_pass http://app"
    return NGINX.format(
        place=place,
        connections=MAX_CONNECTIONS,
        idle=IDLE_UPSTREAMS,
        log=place.access_log if setup.access_log else "off",
        balance="least_conn;" if setup.least_connections else "",
        servers="\n".join(f"        server {address};" for address in place.upstreams),
        passed=passed,
        routes="\n".join(f"        location /r/{number}/ {{ {passed}; }}" for number in range(setup.routes)),
    )


def caddy(setup: Setup, place: Place) -> str:
    """Its routes are tried one after the other."""
    servers = " ".join(place.upstreams)
    route = "    handle /r/{0}/* {{\n        reverse_proxy {1} {{\n            import pool\n        }}\n    }}\n"
    return CADDY.format(
        place=place,
        idle=IDLE_UPSTREAMS,
        log=f"    log {{\n        output file {place.access_log}\n    }}" if setup.access_log else "",
        balance="least_conn" if setup.least_connections else "round_robin",
        check="" if setup.grpc or setup.echo else "    health_uri /\n    health_interval 2s",
        versions="        versions h2c 2" if setup.grpc else "",
        servers=servers,
        routes="".join(route.format(number, servers) for number in range(setup.routes)),
    )


def unstick(setup: Setup, place: Place) -> str:
    """Its defaults, and the admin port with the metrics."""
    certificate = json.dumps(str(place.certificate))
    parts = [
        f'[listen.web]\naddress = "127.0.0.1:{place.plain}"',
        f'[listen.h2c]\naddress = "127.0.0.1:{place.h2c}"',
        f'[listen.tls]\naddress = "127.0.0.1:{place.tls}"\ntls = {{ cert = {certificate}, key = {certificate} }}',
        f'[admin]\naddress = "127.0.0.1:{place.admin}"\nsocket = "off"',
    ]
    if setup.access_log:
        parts.append(f"[log]\naccess = {json.dumps(str(place.access_log))}")
    prefixes = [f"/r/{number}/" for number in range(setup.routes)]
    parts += [f'[[route]]\npath = "{prefix}"\npool = "app"' for prefix in (prefixes + ["/"] if prefixes else [])]
    balance = "least-connections" if setup.least_connections else "round-robin"
    protocol = "h2c" if setup.grpc else "http1"
    parts.append(
        f'[pool.app]\nbalance = "{balance}"\nprotocol = "{protocol}"\nbackends = {json.dumps(place.upstreams)}'
    )
    if not (setup.grpc or setup.echo):
        parts.append('[pool.app.health]\npath = "/"')
    return "\n\n".join(parts) + "\n"
