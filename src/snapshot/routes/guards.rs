//! Paths that can be read in several ways, and the guards that a request for them must pass.

use http::{HeaderMap, Method};

use super::*;
use crate::config;
use crate::config::model::Rewrite;

fn ask(routes: &Routes, path: &str) -> Result<Found, Unroutable> {
    let (headers, method) = (HeaderMap::new(), Method::GET);
    let asked = Asked { listener: "web", host: "a.test", path, query: None, method: &method, headers: &headers };
    let found = routes.find(&asked)?;
    assert!(!found.is_normal || path::normal(path) == path, "{path}");
    Ok(found)
}

#[test]
fn the_guards_of_all_readings_are_found() {
    let config = "pool.app.backends = ['10.0.0.1:1']\nlisten.web.address = ':1'\n\
         [[route]]\n\
         [[route]]\npath = '/admin'\ndeny = ['0.0.0.0/0']\n\
         [[route]]\npath = '=/metrics'\nrespond = { status = 403 }\n\
         [[route]]\npath = '/login'\nrate = { requests = 5, in = '1m' }\n\
         [[route]]\npath = '/open'\n\
         [[route]]\npath = '/open%2Fadmin'\nallow = ['10.0.0.0/8']\n\
         [[route]]\npath = '=/a+b'\nmaintenance = true\n\
         [[route]]\npath = '~\\.php$'\nrespond = { status = 403 }\n\
         [[route]]\npath = '/m;v=1'\nredirect = { to = '/' }\n\
         [[route]]\nhost = '[::1]'\npath = '/'\ndeny = ['10.0.0.0/8']\n";
    let config = config::parse("test.toml", config).unwrap_or_else(|problems| panic!("{problems}"));
    let routes = Routes::new(config.routes.into());
    for (path, route, others) in [
        ("/admin", 1, &[][..]),
        ("/administrator%2Fx", 0, &[]),
        ("/admin%2Fx", 0, &[1]),
        ("/admin;x", 0, &[1]),
        ("/;/admin", 0, &[1]),
        ("/%2Fadmin/", 0, &[1]),
        ("/admin\\x", 0, &[1]),
        ("/admin;%2Fx/y", 0, &[1]),
        ("/admin/../x", 0, &[1]),
        ("/admin/../login", 3, &[1]),
        ("/metrics;jsessionid=1", 0, &[2]),
        ("/login;x", 0, &[3]),
        ("/admin/y%2Fz", 1, &[]),
        ("/open/x%2Fadmin", 4, &[]),
        ("/open%2Fx", 0, &[]),
        ("/open%2Fadmin", 5, &[]),
        ("/a%2Bb", 0, &[6]),
        ("/x.php;a%2Fb", 0, &[7]),
        ("/m%3Bv=1", 0, &[8]),
        ("//open", 4, &[]),
    ] {
        let found = ask(&routes, path).unwrap();
        let expected = (!others.is_empty()).then(|| Box::from(others));
        assert_eq!((found.route, found.others), (route, expected), "{path}");
    }
    for path in ["/x/..%2Fadmin", "/x/..;/admin", "/admin//../x", "/a%2Fb/../../admin", "/open/..%5Cadmin"] {
        assert_eq!(ask(&routes, path), Err(Unroutable::Ambiguous), "{path}");
    }
    let (headers, method, path) = (HeaderMap::new(), Method::GET, "/");
    for host in ["[::1]", "[0:0:0:0:0:0:0:1]:80", "[0::1]", "[::0001]"] {
        let asked = Asked { listener: "web", host, path, query: None, method: &method, headers: &headers };
        assert_eq!(routes.find(&asked).map(|found| found.route), Ok(9), "{host}");
    }
}

/// What rewrites paths has to know what is in them, also if it is for everything.
#[test]
fn a_route_that_rewrites_looks_at_the_path() {
    let rewrite = Some(Rewrite { from: "/".to_owned(), to: "/v1".to_owned() });
    let only = Routes::new([Route { rewrite, ..Route::default() }].into());
    assert_eq!(ask(&only, "/x%2Fy").map(|found| found.route), Ok(0));
    assert_eq!(ask(&only, "/..%2Fx"), Err(Unroutable::Ambiguous));
    assert_eq!(ask(&Routes::new([Route::default()].into()), "/..%2Fx").map(|found| found.route), Ok(0));
}
