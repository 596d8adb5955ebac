"""The configs of Envoy and Traefik, which are trees."""

from __future__ import annotations

import json
from typing import Any

from .setup import IDLE_UPSTREAMS, MAX_CONNECTIONS, Place, Setup

Tree = dict[str, Any]
EXTENSIONS = "type.googleapis.com/envoy.extensions"


def address(text: str) -> Tree:
    host, port = text.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}


def envoy(setup: Setup, place: Place) -> str:
    """Its circuit breakers would be the only limits of a product, so they are wide."""
    cluster: Tree = {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "2s",
        "lb_policy": "LEAST_REQUEST" if setup.least_connections else "ROUND_ROBIN",
        "circuit_breakers": {
            "thresholds": [
                {name: MAX_CONNECTIONS for name in ("max_connections", "max_pending_requests", "max_requests")}
            ]
        },
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(text)}} for text in place.upstreams]}],
        },
    }
    if setup.grpc:
        options: Tree = {"explicit_http_config": {"http2_protocol_options": {}}}
        kind = f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions"
        name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        cluster["typed_extension_protocol_options"] = {name: {"@type": kind, **options}}
    elif not setup.echo:
        probe = {"timeout": "1s", "interval": "2s", "unhealthy_threshold": 3, "healthy_threshold": 2}
        cluster["health_checks"] = [{**probe, "http_health_check": {"path": "/"}}]
    listeners = [envoy_listener(setup, place, name) for name in ("plain", "h2c", "tls")]
    return json.dumps({"static_resources": {"listeners": listeners, "clusters": [cluster]}})


def envoy_listener(setup: Setup, place: Place, name: str) -> Tree:
    filters = f"{EXTENSIONS}.filters"
    prefixes = [f"/r/{number}/" for number in range(setup.routes)] + ["/"]
    route = {"cluster": "app", "timeout": "60s"}
    manager: Tree = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "use_remote_address": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}}
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": prefix}, "route": route} for prefix in prefixes],
                }
            ]
        },
    }
    if setup.access_log:
        kind = f"{EXTENSIONS}.access_loggers.file.v3.FileAccessLog"
        manager["access_log"] = [
            {"name": "envoy.access_loggers.file", "typed_config": {"@type": kind, "path": str(place.access_log)}}
        ]
    chain: Tree = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if name == "tls":
        file = {"filename": str(place.certificate)}
        certificates = [{"certificate_chain": file, "private_key": file}]
        kind = f"{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext"
        context = {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": certificates}
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": kind, "common_tls_context": context},
        }
    where = address(f"127.0.0.1:{getattr(place, name)}")
    return {"name": name, "address": where, "filter_chains": [chain], "tcp_backlog_size": 4096}


def traefik(setup: Setup, place: Place) -> str:
    """The static part. Its dynamic part is a second file, see `traefik_routes`."""
    static: Tree = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "ERROR"},
        "entryPoints": {name: {"address": f"127.0.0.1:{getattr(place, name)}"} for name in ("plain", "h2c", "tls")},
        "providers": {"file": {"filename": str(place.folder / "routes.yml")}},
        "serversTransport": {"maxIdleConnsPerHost": IDLE_UPSTREAMS},
    }
    if setup.access_log:
        static["accessLog"] = {"filePath": str(place.access_log)}
    return json.dumps(static)


def traefik_routes(setup: Setup, place: Place) -> str:
    """It knows no least connections; two at random, of which the one with fewer, is the nearest."""
    rules = ["PathPrefix(`/`)"] + [f"PathPrefix(`/r/{number}/`)" for number in range(setup.routes)]
    routers: Tree = {}
    for number, rule in enumerate(rules):
        common: Tree = {"rule": rule, "service": "app"}
        routers[f"plain{number}"] = {**common, "entryPoints": ["plain", "h2c"]}
        routers[f"tls{number}"] = {**common, "entryPoints": ["tls"], "tls": {}}
    scheme = "h2c" if setup.grpc else "http"
    balancer: Tree = {"servers": [{"url": f"{scheme}://{text}"} for text in place.upstreams]}
    if setup.least_connections:
        balancer["strategy"] = "p2c"
    if not (setup.grpc or setup.echo):
        balancer["healthCheck"] = {"path": "/", "interval": "2s", "timeout": "1s"}
    file = str(place.certificate)
    return json.dumps(
        {
            "http": {"routers": routers, "services": {"app": {"loadBalancer": balancer}}},
            "tls": {"stores": {"default": {"defaultCertificate": {"certFile": file, "keyFile": file}}}},
        }
    )
