//! What kept somebody out stays closed, whether it can be translated or not.

#![cfg(test)]

mod checks;
mod reader;

use checks::check_of;
use unstick_import::Kind;

/// What a closed route has.
const CLOSED: &str = "deny = [\"0.0.0.0/0\", \"::/0\"]";

#[test]
fn haproxy_compares_each_element_of_a_header() {
    fn around(fragment: &str) -> String {
        let head = "defaults\n mode http\nfrontend f\n bind :80";
        format!("{head}\n {fragment}\n default_backend app\nbackend app\n server a b:1\n")
    }
    let rows: [(&str, &[&str], &str); 3] = [
        ("http-request deny if { hdr(X-L) -i b }", &[r"header = { x-l = '~(?i)(^|,)\s*b\s*(,|$)' }"], ""),
        ("http-request deny if { req.fhdr(X-L) b }", &["header = { x-l = \"b\" }"], ""),
        ("http-request deny if { hdr_reg(X-L) (^b|c) }", &[CLOSED], "see `fhdr`"),
    ];
    check_of(Kind::Haproxy, around, &rows);
}
