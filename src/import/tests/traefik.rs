//! Each translation of Traefik's words, as a fragment: what is written, and what is told of it.

#![cfg(test)]

mod checks;
mod reader;

use checks::check_of;
use unstick_import::Kind;

/// What a closed route has.
const CLOSED: &str = "deny = [\"0.0.0.0/0\", \"::/0\"]";

/// A configuration with routers, and whatever else there is of `http`.
fn with(entries: &str, routers: &str, more: &str) -> String {
    let service = "s: {loadBalancer: {servers: [{url: 'http://a:1'}]}}";
    let services = if more.contains("services:") { String::new() } else { format!(", services: {{{service}}}") };
    format!("entryPoints: {{{entries}}}\nhttp: {{routers: {{{routers}}}{services}{more}}}\n")
}

fn middleware(fragment: &str) -> String {
    let router = "r: {rule: 'Host(`a.test`) && PathPrefix(`/api/`)', service: s, middlewares: [m]}";
    with("web: {address: ':80'}", router, &format!(", middlewares: {{m: {{{fragment}}}}}"))
}

#[test]
fn what_a_middleware_says() {
    check_of(
        Kind::Traefik,
        middleware,
        &[
            ("stripPrefix: {prefixes: [/api]}", &["path = \"/api/\"", "strip_prefix = \"/api\""], ""),
            ("STRIPPREFIX: {Prefixes: [/x, /api]}", &["strip_prefix = \"/api\""], ""),
            (
                "stripPrefix: {prefixes: [/api/v1/]}",
                &[
                    "path = \"/api/v1/\"\npriority = 2\npool = \"s\"\nstrip_prefix = \"/api/v1\"",
                    "path = \"/api/\"\npri",
                ],
                "",
            ),
            ("stripPrefixRegex: {regex: ['/v[0-9]']}", &["pool = \"s\""], "a prefix is a text"),
            ("addPrefix: {prefix: /v1}", &["replace_prefix = { from = \"/\", to = \"/v1\" }"], ""),
            ("replacePath: {path: /x}", &["pool = \"s\""], "not the whole path; the path stays as it is"),
            (
                "replacePathRegex: {regex: '^/api/(.*)', replacement: '/v2/$1'}",
                &["replace_prefix = { from = \"/api\", to = \"/v2\" }"],
                "",
            ),
            (
                "replacePathRegex: {regex: '^/api/(.*)', replacement: '/v2/${1}'}",
                &["replace_prefix = { from = \"/api\", to = \"/v2\" }"],
                "",
            ),
            ("replacePathRegex: {regex: '(.*)/x', replacement: '$1'}", &["pool = \"s\""], "the path stays as it is"),
            (
                "headers: {customRequestHeaders: {X-A: '{\"b\"}', X-B: ''}}",
                &["request_headers = { set = { x-a = '{{\"b\"}}' }, remove = [\"x-b\"] }"],
                "",
            ),
            ("headers: {customRequestHeaders: {Host: b.test}}", &["set = { host = \"b.test\" }"], ""),
            ("headers: {customRequestHeaders: {X-Forwarded-For: x}}", &["pool"], "unstick writes this header itself"),
            ("headers: {customResponseHeaders: {Connection: x}}", &["pool"], "belongs to the connection"),
            ("headers: {customResponseHeaders: {X-A: '${B}'}}", &["x-a = \"$${{B}}\""], ""),
            ("headers: {stsSeconds: 1}", &["pool = \"s\"\n\n"], ""),
            ("headers: {stsSeconds: 1, forceSTSHeader: true}", &["strict-transport-security = \"max-age=1\""], ""),
            (
                "headers: {frameDeny: true, customFrameOptionsValue: SAMEORIGIN}",
                &["x-frame-options = \"SAMEORIGIN\""],
                "",
            ),
            ("headers: {accessControlAllowMethods: [GET]}", &["pool"], "preflight requests are not answered"),
            ("headers: {allowedHosts: [a.test]}", &[CLOSED], "what it protects answers 403"),
            (
                "redirectScheme: {scheme: https, permanent: true}",
                &["to = \"https://{host}{path}{?query}\", status = 308"],
                "",
            ),
            ("redirectScheme: {scheme: https, port: 8443}", &["https://{host}:8443{path}{?query}\", status = 307"], ""),
            ("redirectScheme: {scheme: http}", &["pool = \"s\""], ""),
            ("redirectRegex: {regex: '^http://a.test/x', replacement: y}", &["pool"], "tests the host only"),
            ("rateLimit: {average: 5}", &["rate = { per = \"address\", requests = 5, in = \"1s\", burst = 1 }"], ""),
            ("rateLimit: {average: 5, period: 1m, burst: 9}", &["requests = 5, in = \"1m\", burst = 9"], ""),
            ("rateLimit: {average: 5, sourceCriterion: {requestHeaderName: X-Key}}", &["per = \"header:x-key\""], ""),
            ("rateLimit: {average: 5, sourceCriterion: {requestHost: true}}", &["per = \"route\""], "by route"),
            ("rateLimit: {average: 0}", &["pool = \"s\"\n\n"], ""),
            ("rateLimit: {average: 5, period: 48h}", &["pool = \"s\"\n#"], "100 ms to a day"),
            ("ipAllowList: {sourceRange: [10.0.0.0/8, '::1']}", &["allow = [\"10.0.0.0/8\", \"::1/128\"]"], ""),
            ("ipWhiteList: {sourceRange: [10.0.0.1]}", &["allow = [\"10.0.0.1/32\"]"], ""),
            ("ipAllowList: {sourceRange: [10.0.0.0/8], ipStrategy: {depth: 1}}", &[CLOSED], "answers 403"),
            ("ipAllowList: {sourceRange: [x]}", &[CLOSED], "what is no network"),
            ("ipAllowList: {sourceRange: [10.0.0.1], rejectStatusCode: 404}", &["allow"], "gets a 403"),
            ("basicAuth: {users: [x]}", &[CLOSED], "unstick asks nobody who he is"),
            ("digestAuth: {users: [x]}", &[CLOSED], "unstick asks nobody who he is"),
            ("forwardAuth: {address: 'http://auth'}", &[CLOSED], "unstick asks nobody who he is"),
            ("plugin: {bouncer: {}}", &[CLOSED], "unstick has no plugins"),
            ("frobnicate: {}", &[CLOSED], "does not know this middleware"),
            ("buffering: {maxRequestBodyBytes: 2048}", &["limits = { request_body = \"2KiB\" }"], ""),
            ("buffering: {maxResponseBodyBytes: 1}", &["pool"], "responses may have any length"),
            ("retry: {attempts: 3}", &["retry = { attempts = 3 }"], ""),
            ("retry: {attempts: 3, status: [503, 504]}", &["on_status = [503, 504]"], ""),
            ("retry: {attempts: 3, status: [500-599]}", &["on_status = [502, 503, 504]"], "and no others"),
            ("chain: {middlewares: [m]}", &[CLOSED], "a chain within itself"),
            ("chain: {middlewares: [n]}", &[CLOSED], "this middleware is not in these files"),
            ("compress: {}", &["pool = \"s\""], "unstick passes bodies on as they are"),
            ("errors: {status: [500], service: s, query: /x}", &["pool = \"s\""], "pages of errors come from files"),
            ("circuitBreaker: {expression: x}", &["pool = \"s\""], "left out one by one"),
            ("inFlightReq: {amount: 5}", &["pool = \"s\""], "bounded for each endpoint"),
            ("passTLSClientCert: {pem: true}", &["pool = \"s\""], "Client-Cert"),
        ],
    );
}

#[test]
fn what_a_rule_says() {
    fn around(rule: &str) -> String {
        let other = "low: {rule: 'Host(`b.test`)', service: s, priority: 1}";
        with("web: {address: ':80'}", &format!("r: {{rule: '{rule}', service: s}}, {other}"), "")
    }
    check_of(
        Kind::Traefik,
        around,
        &[
            ("Host(`a.test`)", &["host = \"a.test\"\npath = \"/\"\npool"], ""),
            ("Host(`a.test`, `c.test`)", &["host = \"a.test\"", "host = \"c.test\""], ""),
            ("PathPrefix(`/x`)", &["host = [\"b.test\", \"*\"]\npath = \"~^/x\"\npriority = 2"], ""),
            ("HostRegexp(`^.+$`) && Path(`/x`)", &["host = [\"b.test\", \"*\"]\npath = \"=/x\""], ""),
            ("Host(`*.a.test`)", &["host = \"*.a.test\""], "names with more labels"),
            ("HostRegexp(`^a[0-9]\\.test$`)", &["host = \"b.test\""], "so there is no route for it"),
            ("Host(`a.test`) && Method(`GET`)", &["method = \"GET\""], ""),
            ("Host(`a.test`) && Header(`X-A`, `1`)", &["header = { x-a = \"1\" }"], ""),
            ("Host(`a.test`) && Query(`q`, `1`)", &["query = { q = \"1\" }"], ""),
            ("Host(`a.test`) && ClientIP(`10.0.0.0/8`)", &["allow = [\"10.0.0.0/8\"]"], "would ask the next router"),
            ("Host(`a.test`) && !ClientIP(`10.0.0.0/8`)", &["deny = [\"10.0.0.0/8\"]"], "would ask the next router"),
            ("Host(`a.test`) && !PathPrefix(`/x`)", &["path = \"~^/($|[^x])\""], ""),
            ("Host(`a.test`) && Host(`c.test`)", &["host = \"b.test\""], "no request fits this rule"),
            ("Host(`b.test`) || Path(`/x`)", &["host = \"b.test\"\npath = \"/\"\npool"], "no request reaches"),
            ("Host(a.test)", &["host = \"b.test\""], "this is no rule"),
            ("HostSNI(`a.test`)", &["host = \"b.test\""], "no matcher `HostSNI`"),
        ],
    );
}

#[test]
fn what_a_service_says() {
    fn around(service: &str) -> String {
        let router = "r: {rule: 'Host(`a.test`)', service: s}";
        with("web: {address: ':80'}", router, &format!(", services: {{s: {{{service}}}}}}}"))
    }
    let pair =
        "a: {loadBalancer: {servers: [{url: 'http://a:1'}]}}, b: {loadBalancer: {servers: [{url: 'http://b:1'}]}}";
    let weighted = format!(
        "weighted: {{services: [{{name: a, weight: 3}}, {{name: b}}]}}}}, {pair}, x: {{mirroring: {{service: s"
    );
    check_of(
        Kind::Traefik,
        around,
        &[
            ("loadBalancer: {servers: [{url: 'http://a'}]", &["backends = [\"a:80\"]"], ""),
            ("loadBalancer: {servers: [{url: 'https://[::1]:8443'}]", &["protocol = \"https\"", "[::1]:8443"], ""),
            ("loadBalancer: {servers: [{url: 'h2c://a:1', weight: 2}]", &["h2c", "address = \"a:1\", weight = 2"], ""),
            ("loadBalancer: {servers: [{url: 'http://a/x', preservePath: true}]", &["to = \"/x\""], ""),
            ("loadBalancer: {servers: [{url: 'http://a/x'}]", &["backends = [\"a:80\"]"], ""),
            ("loadBalancer: {servers: [{url: a}]", &["status = 503"], "no URL of a replica"),
            (
                "loadBalancer: {servers: [{url: 'http://a'}, {url: 'https://b'}]",
                &["backends = [\"a:80\"]"],
                "same proto",
            ),
            ("loadBalancer: {servers: [{url: 'http://a', weight: 0}]", &["backends"], "weights are from 1 to 256"),
            ("loadBalancer: {servers: [{url: 'http://a'}], strategy: p2c", &["balance = \"p2c\""], ""),
            ("loadBalancer: {servers: [{url: 'http://a'}], strategy: hrw", &["backends"], "run `unstick audit`"),
            ("loadBalancer: {servers: [{url: 'http://a'}], sticky: {cookie: {}}", &["backends"], "run `unstick audit`"),
            ("loadBalancer: {servers: [{url: 'http://a'}], sticky: false", &["backends"], ""),
            ("loadBalancer: {servers: [{url: 'http://a'}], passHostHeader: false", &["set = { host = \"a\" }"], ""),
            (
                "loadBalancer: {servers: [{url: 'http://a'}, {url: 'http://b'}], passHostHeader: false",
                &["backends"],
                "here it is the host of the client",
            ),
            (
                "loadBalancer: {servers: [{url: 'http://a'}], healthCheck: {path: /up, status: 204, interval: 10s}",
                &["path = \"/up\"\nstatus = 204\ninterval = \"10s\"\ntimeout = \"5s\"\nrise = 1\nfall = 1"],
                "",
            ),
            (
                "loadBalancer: {servers: [{url: 'http://a'}], healthCheck: {path: /up, method: HEAD, port: 9}",
                &["path = \"/up\""],
                "unstick probes with GET",
            ),
            (
                "loadBalancer: {servers: [{url: 'h2c://a'}], healthCheck: {mode: grpc}",
                &["kind = \"grpc\"\ninterval = \"30s\""],
                "",
            ),
            ("loadBalancer: {servers: [{url: 'http://a'}], healthCheck: {mode: grpc}", &["kind = \"tcp\""], "HTTP/2"),
            (
                "loadBalancer: {servers: [{url: 'http://a'}], passiveHealthCheck: {failureWindow: 3s}",
                &["failures = 1\nduration = \"3s\""],
                "failures in a row",
            ),
            (
                "loadBalancer: {servers: [{url: 'http://a'}], serversTransport: x",
                &["backends"],
                "the transport `x` is not in these files",
            ),
            (&weighted, &["split = { a = 3, b = 1 }"], "no translated router leads to this service"),
            ("weighted: {services: [{name: s}]", &["status = 503"], "is not in these files"),
            ("frobnicate: {", &["status = 503"], "does not know this kind of service"),
        ],
    );
}

#[test]
fn what_an_entry_point_says() {
    fn around(fragment: &str) -> String {
        with(
            &format!("web: {{{fragment}}}"),
            "r: {rule: 'Host(`a.test`)', service: s, middlewares: [m]}",
            ", middlewares: {m: {ipAllowList: {sourceRange: [10.0.0.0/8]}}}",
        )
    }
    check_of(
        Kind::Traefik,
        around,
        &[
            ("address: ':80'", &["[listen.web]\naddress = \":80\"", "allow = [\"10.0.0.0/8\"]"], ""),
            ("address: '127.0.0.1:80/tcp'", &["address = \"127.0.0.1:80\""], ""),
            (
                "address: ':80', forwardedHeaders: {trustedIPs: [127.0.0.1]}",
                &["trusted_proxies = [\"127.0.0.1\"]", CLOSED],
                "Traefik compares the address of the proxy",
            ),
            ("address: ':80', forwardedHeaders: {insecure: true}", &["address"], "so nobody is believed"),
            (
                "address: ':80', proxyProtocol: {trustedIPs: [127.0.0.1]}",
                &["proxy_protocol = \"accept\""],
                "answer 403",
            ),
            ("address: ':80', http: {maxHeaderBytes: 65536}", &["request_head = \"64KiB\""], ""),
            ("address: ':80', http2: {maxConcurrentStreams: 10}", &["h2_streams = 10"], ""),
            (
                "address: ':80', transport: {lifeCycle: {graceTimeOut: 1m, requestAcceptGraceTimeout: 5}}",
                &["drain = \"1m\"\nshutdown_delay = \"5s\""],
                "",
            ),
            ("address: ':80', transport: {respondingTimeouts: {readTimeout: 0}}", &["address"], ""),
            (
                "address: ':80', transport: {respondingTimeouts: {readTimeout: 5m}}",
                &["address"],
                "each pause in its body",
            ),
            ("address: ':80', http3: {}", &["address"], "HTTP/1.1 and HTTP/2"),
            ("address: ':80', frobnicate: 1", &["address"], "does not know this key"),
        ],
    );
}

#[test]
fn a_listener_speaks_tls_or_plain_text() {
    fn around(router: &str) -> String {
        let entries = "web: {address: ':80'}, secure: {address: ':443'}";
        let tls = "tls: {certificates: [{certFile: a.pem, keyFile: a.key}], options: {\
                   mtls: {clientAuth: {caFiles: [ca.pem], clientAuthType: RequireAndVerifyClientCert}}, \
                   odd: {clientAuth: {clientAuthType: RequestClientCert}}}}";
        let first = "first: {rule: 'Host(`b.test`)', service: s, entryPoints: [web]}";
        with(entries, &format!("{first}, r: {{rule: 'Host(`a.test`)', service: s, {router}}}"), "") + tls
    }
    check_of(
        Kind::Traefik,
        around,
        &[
            (
                "entryPoints: [secure], tls: {}",
                &["[listen.secure.tls]\ncert = \"a.pem\"\nkey = \"a.key\"", "listen = \"secure\""],
                "",
            ),
            (
                "entryPoints: [secure], tls: {options: mtls}",
                &["client_ca = \"ca.pem\"\nclient_auth = \"required\""],
                "",
            ),
            ("entryPoints: [secure], tls: {options: odd}", &[CLOSED], "by their certificates"),
            ("entryPoints: [secure], tls: {options: none}", &[CLOSED], "by their certificates"),
            ("entryPoints: [web, secure], tls: {}", &["listen = \"secure\""], "web speaks what this router does not"),
            ("tls: {}", &["listen = \"secure\""], ""),
            ("entryPoints: [nowhere]", &["host = \"b.test\""], "there is no entry point `nowhere`"),
        ],
    );
}

#[test]
fn what_an_entry_point_redirects_has_its_middlewares() {
    fn around(middlewares: &str) -> String {
        let entries = format!(
            "web: {{address: ':80', http: {{middlewares: [{middlewares}], \
             redirections: {{entryPoint: {{to: secure, permanent: false}}}}}}}}, \
             secure: {{address: ':8443', http: {{tls: {{}}}}}}"
        );
        let tls = "tls: {certificates: [{certFile: a.pem, keyFile: a.key}]}";
        let more = ", middlewares: {auth: {basicAuth: {}}, sts: {headers: {frameDeny: true}}}";
        with(&entries, "r: {rule: 'Host(`a.test`)', service: s}", more) + tls
    }
    let to = "redirect = { to = \"https://{host}:8443{path}{?query}\", status = 307 }\n";
    check_of(
        Kind::Traefik,
        around,
        &[
            ("", &[to, "listen = \"secure\"\nhost = \"a.test\""], ""),
            ("sts", &[&format!("{to}response_headers = {{ set = {{ x-frame-options"), "pool = \"s\"\n\n"], ""),
            ("auth", &[&format!("{CLOSED}\n{to}")], "asks nobody"),
        ],
    );
}

#[test]
fn the_first_middleware_is_the_outer_one() {
    fn around(names: &str) -> String {
        let set = |value: &str| {
            format!("{{headers: {{customRequestHeaders: {{X-A: {value}}}, customResponseHeaders: {{X-B: {value}}}}}}}")
        };
        let more = format!(", middlewares: {{m: {}, n: {}}}", set("m"), set("n"));
        with(
            "web: {address: ':80'}",
            &format!("r: {{rule: 'Host(`a.test`)', service: s, middlewares: {names}}}"),
            &more,
        )
    }
    let outer_m = "request_headers = { set = { x-a = \"n\" } }\nresponse_headers = { set = { x-b = \"m\" } }";
    let outer_n = "request_headers = { set = { x-a = \"m\" } }\nresponse_headers = { set = { x-b = \"n\" } }";
    check_of(Kind::Traefik, around, &[("[m, n]", &[outer_m], ""), ("'n, m'", &[outer_n], "")]);
}

#[test]
fn a_file_of_the_file_provider_alone_has_guessed_listeners() {
    check_of(
        Kind::Traefik,
        str::to_owned,
        &[(
            "http: {routers: {r: {rule: 'Host(`a.test`)', entryPoints: [websecure], service: s, tls: {}}}, \
             services: {s: {loadBalancer: {servers: [{url: 'http://a:1'}]}}}}\n\
             tls: {certificates: [{certFile: a, keyFile: b}]}\n",
            &["[listen.websecure]\naddress = \":443\"", "cert = \"a\""],
            "the static configuration says its address",
        )],
    );
}
