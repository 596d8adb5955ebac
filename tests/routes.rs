//! What a route looks at, and what becomes of a request that it fits.

use crate::support::backend::Backend;
use crate::support::client::{Response, exchange};
use crate::support::h2::{begin, client as h2_client, get, run, whole};
use crate::support::{App, connect};

/// One request over HTTP/1.1: a method, a target, a host, and lines of fields.
fn ask(app: &App, method: &str, target: &str, host: &str, fields: &str) -> Response {
    let mut client = connect(app.address);
    exchange(&mut client, &format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"))
}

/// Two pools of one replica each, and these routes.
fn two_pools(routes: &str) -> (App, [Backend; 2]) {
    let backends = [Backend::named("a"), Backend::named("b")];
    let pools = ["a", "b"].iter().zip(&backends);
    let pools: String =
        pools.map(|(name, backend)| format!("[pool.{name}]\nbackends = [\"{}\"]\n", backend.address)).collect();
    (App::start(&format!("{pools}{routes}")), backends)
}

#[test]
fn a_path_in_disguise_takes_the_route_of_its_normal_form_and_goes_out_as_it_came() {
    let (app, [_a, b]) = two_pools("[[route]]\npool = 'a'\n[[route]]\npath = '/admin'\npool = 'b'\n");
    let paths = ["/admin", "/%61dmin/x", "/x/../admin?q=1", "/%2e//admin/", "/.%2e/admin", "//admin"];
    for path in paths {
        assert_eq!(ask(&app, "GET", path, "a.test", "").text(), "b", "{path}");
    }
    let seen: Vec<String> = b.seen().iter().map(|seen| seen.line().split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(seen, paths, "the replica gets the path as the client wrote it");
    for path in ["/administrator", "/a/%2561dmin", "/x%2Fadmin", "/a;/admin"] {
        assert_eq!(ask(&app, "GET", path, "a.test", "").text(), "a", "{path}");
    }
    let over_h2 = run(async {
        let client = h2_client(app.address).await;
        get(&client, "/x/%2E%2e/admin").await.unwrap().1
    });
    assert_eq!(over_h2, "b");
}

#[test]
fn a_condition_on_the_host_holds_wherever_the_host_stands() {
    let (app, [_a, _b]) =
        two_pools("[[route]]\npool = 'a'\n[[route]]\npath = '/'\nheader = { host = '~^shop-\\d' }\npool = 'b'\n");
    assert_eq!(ask(&app, "GET", "/", "shop-1.test", "").text(), "b");
    assert_eq!(ask(&app, "GET", "http://shop-1.test/", "other.test", "").text(), "b");
    assert_eq!(ask(&app, "GET", "http://other.test/", "shop-1.test", "").text(), "a");
    let over_h2 = run(async {
        let client = h2_client(app.address).await;
        let request = http::Request::get("http://shop-1.test/").body(()).unwrap();
        let (_, body, _) = whole(begin(&client, request, true).await.0).await.unwrap();
        String::from_utf8(body).unwrap()
    });
    assert_eq!(over_h2, "b");
}

#[test]
fn conditions_decide_in_their_order() {
    let (app, _backends) = two_pools(
        "[[route]]\npath = '/api'\npool = 'a'\n[[route]]\npath = '/api'\nheader = { x-canary = '1' }\npool = 'b'\n\
         [[route]]\npath = '~^/api/v[12]/items/\\d+$'\nmethod = ['POST', 'PUT']\npool = 'b'\n\
         [[route]]\npath = '/api'\nquery = { preview = '*' }\npriority = 1\npool = 'b'\n",
    );
    for (method, target, fields, expected) in [
        ("GET", "/api/x", "", "a"),
        ("GET", "/api/x", "X-Canary: 1\r\n", "b"),
        ("GET", "/api/x", "X-Canary: 2\r\n", "a"),
        ("GET", "/api/v2/items/17", "", "a"),
        ("PUT", "/api/v2/items/17", "", "b"),
        ("PUT", "/api/v3/items/17", "", "a"),
        ("GET", "/api/x?preview", "", "b"),
        ("GET", "/api/x?q=preview", "", "a"),
    ] {
        assert_eq!(ask(&app, method, target, "a.test", fields).text(), expected, "{method} {target} {fields}");
    }
    let lost = ask(&app, "GET", "/", "a.test", "");
    assert_eq!((lost.status, lost.field("x-unstick-error")), (404, Some("no-route")));
}

#[test]
fn each_listener_has_its_routes_and_an_edit_reaches_present_connections() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let config = |[public, inner]: [&str; 2]| {
        format!(
            "[listen.public]\naddress = '127.0.0.1:0'\n[listen.inner]\naddress = '127.0.0.1:0'\n\
             [pool.a]\nbackends = ['{}']\n[pool.b]\nbackends = ['{}']\n\
             [[route]]\nlisten = '{public}'\npool = 'a'\n[[route]]\nlisten = ['{inner}']\npool = 'b'\n",
            backends[0].address, backends[1].address
        )
    };
    let app = App::start(&config(["public", "inner"]));
    let address = |name: &str| {
        let listeners = app.status()["listeners"].clone();
        let found = listeners.as_array().unwrap().iter().find(|listener| listener["name"] == name).unwrap().clone();
        found["address"].as_str().unwrap().parse().unwrap()
    };
    let mut clients = [address("public"), address("inner")].map(connect);
    let mut text = |nth: usize| exchange(&mut clients[nth], "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").text();
    assert_eq!([text(0), text(1)], ["a", "b"]);
    app.apply(&config(["inner", "public"]));
    assert_eq!([text(0), text(1)], ["b", "a"]);
    let routes = &app.status()["routes"];
    assert_eq!(routes[0]["route"], "* / listen inner");
}
