//! Each translation of a compose file, as a fragment: what is written, and what is told of it.

#![cfg(test)]

mod checks;
mod reader;

use checks::check_of;
use unstick_import::Kind;

/// What a closed route has.
const CLOSED: &str = "deny = [\"0.0.0.0/0\", \"::/0\"]";

#[test]
fn what_a_compose_file_says() {
    fn around(service: &str) -> String {
        let traefik = "traefik: {image: 'traefik:v3', command: ['--entrypoints.web.address=:80']}";
        let other = "z: {expose: [9], labels: {traefik.http.routers.z.rule: 'Host(`z.test`)'}}";
        format!("services: {{{traefik}, {other}, app: {{image: app, {service}}}}}\n")
    }
    let rule = "traefik.http.routers.r.rule: 'Host(`a.test`)'";
    let rows: &[(String, &[&str], &str)] = &[
        (format!("expose: [3000], labels: {{{rule}}}"), &["backends = [\"app:3000\"]", "pool = \"app\""], ""),
        (format!("ports: ['127.0.0.1:8080:3000/tcp', '9000:9000'], labels: {{{rule}}}"), &["app:3000"], ""),
        (format!("ports: [{{target: 3000, published: 80}}], labels: {{{rule}}}"), &["app:3000"], ""),
        (format!("labels: {{{rule}}}"), &["app:80"], "which the image exposes"),
        (format!("deploy: {{labels: {{{rule}}}}}, expose: [1]"), &["app:1"], ""),
        (
            format!("labels: {{{rule}, traefik.http.services.x.loadbalancer.server.port: '${{PORT:-3000}}'}}"),
            &["[pool.x]\nbackends = [\"app:${PORT:-3000}\"]"],
            "",
        ),
        (
            format!("labels: {{{rule}, traefik.http.services.x.loadbalancer.server.scheme: h2c}}, expose: [1]"),
            &["protocol = \"h2c\""],
            "",
        ),
        (
            format!("labels: {{{rule}, traefik.http.services.x.loadbalancer.server.url: 'http://b:2'}}"),
            &["backends = [\"b:2\"]"],
            "",
        ),
        (
            format!(
                "expose: [1], labels: {{{rule}, traefik.http.routers.r.middlewares: 'm@docker', \
                     traefik.http.middlewares.m.headers.customrequestheaders.X-A: '$$1'}}"
            ),
            &["x-a = \"$1\""],
            "",
        ),
        (
            format!("expose: [1], labels: {{{rule}, traefik.http.routers.r.middlewares: 'sso@file'}}"),
            &[CLOSED],
            "not in these files",
        ),
        (format!("expose: [1], labels: {{{rule}, traefik.frontend.rule: x}}"), &["app:1"], "Traefik 1"),
        (format!("expose: [1], labels: {{{rule}, traefik.tcp.routers.r.rule: x}}"), &["app:1"], "balances HTTP only"),
        (format!("expose: [1], network_mode: host, labels: {{{rule}}}"), &["app:1"], "has no name"),
        ("labels: {traefik.enable: 'true'}".to_owned(), &[], "a router without a rule"),
        ("labels: {traefik.enable: 'false'}".to_owned(), &["backends = [\"z:9\"]"], ""),
    ];
    for (fragment, written, told) in rows {
        check_of(Kind::Compose, around, &[(fragment, written, told)]);
    }
}

#[test]
fn what_the_service_of_traefik_says() {
    fn around(traefik: &str) -> String {
        let app = "app: {image: app, expose: [1], labels: {traefik.enable: true, \
                   traefik.http.routers.r.rule: 'Host(`a.test`)'}}";
        format!("services: {{traefik: {{image: 'traefik:v3', {traefik}}}, {app}, db: {{image: db}}}}\n")
    }
    let off = "--providers.docker.exposedbydefault=false";
    let rows: &[(String, &[&str], &str)] = &[
        (format!("command: '--entrypoints.web.address=:81 {off}'"), &["[listen.web]\naddress = \":81\""], ""),
        (
            format!("command: [traefik, '--entryPoints.Web.Address=:81', '{off}']"),
            &["[listen.Web]\naddress = \":81\""],
            "",
        ),
        (
            "environment: [TRAEFIK_ENTRYPOINTS_WEB_ADDRESS=:81, TRAEFIK_PROVIDERS_DOCKER_EXPOSEDBYDEFAULT=false]"
                .to_owned(),
            &["[listen.WEB]\naddress = \":81\""],
            "",
        ),
        (format!("command: ['{off}']"), &["[listen.http]\naddress = \":80\""], ""),
        ("command: ['--entrypoints.web.address=:81']".to_owned(), &["a.test"], "db; it has a router without a rule"),
        (
            format!("command: ['{off}', '--providers.docker.constraints=x']"),
            &["a.test"],
            "is not asked of their labels",
        ),
        (format!("command: ['{off}', run]"), &["a.test"], "this is no flag of Traefik"),
        (format!("command: ['{off}', '--providers.consul=true']"), &["a.test"], "no other source than its file"),
    ];
    for (fragment, written, told) in rows {
        let told = &told.replace("; ", "\n    ");
        check_of(Kind::Compose, around, &[(fragment, written, told)]);
    }
}
