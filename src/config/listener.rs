//! One `[listen.NAME]` of the file.

use std::net::IpAddr;

use super::model::{AcceptProxy, CertificateFiles, ClientCa, Listener, Protocols, Tls};
use super::section::{Section, one_of, path, strings};
use super::values;

/// Reads every listener.
pub(super) fn read_all(top: &Section<'_>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for (name, section) in top.named("listen") {
        let value = section.get("address");
        let unix_mode = section.parsed("unix_mode", values::file_mode);
        let trusted_proxies = strings(&section, "trusted_proxies", values::network);
        let protocols = protocols(&section);
        let tls = section.section("tls").map(|section| tls(&section));
        let words = [("off", AcceptProxy::Off), ("accept", AcceptProxy::Accept), ("require", AcceptProxy::Require)];
        let proxy_protocol = section.parsed("proxy_protocol", |text| one_of(text, &words)).unwrap_or_default();
        let redirect_to_https = section.integer("redirect_to_https", 1..=65_535).map(|port| port as u16);
        section.finish();
        if let (true, true, Some(value)) =
            (proxy_protocol != AcceptProxy::Off, trusted_proxies.is_empty(), section.get("proxy_protocol"))
        {
            let help = "add trusted_proxies = [\"10.0.0.0/8\"]: otherwise any client could claim any address";
            value.report(format!("{} without trusted_proxies", value.key), Some(help.into()));
        }
        if let (Some(_), Some(value)) = (redirect_to_https, section.get("tls")) {
            let help = "redirect_to_https is for a listener without tls, which sends its clients to the one with tls";
            value.report(format!("{} has tls and redirect_to_https", section.name), Some(help.into()));
        }
        let message = format!("{} has no address", section.name);
        section.missing("address", section.span.clone(), &message, "add address = \"0.0.0.0:8080\"");
        let Some(value) = value else { continue };
        let Some(address) = value.parsed(values::listener_address) else { continue };
        let local = IpAddr::from([127, 0, 0, 1]);
        if proxy_protocol != AcceptProxy::Off
            && address.tcp().is_none()
            && !trusted_proxies.iter().any(|trusted| trusted.contains(&local))
        {
            let help = "add \"127.0.0.1\" to trusted_proxies: clients of a Unix socket count as that";
            value.report(format!("{} does not trust the clients of its Unix socket", section.name), Some(help.into()));
        }
        if let (Some(_), Some(value)) = (address.tcp(), section.get("unix_mode")) {
            let help = "leave it out, or listen on a Unix socket: address = \"unix:/run/unstick.sock\"";
            value.report(format!("{} does not apply to a TCP address", value.key), Some(help.into()));
        }
        if let Some(other) =
            listeners.iter().find(|other| other.address == address && address.tcp().is_none_or(|tcp| tcp.port() != 0))
        {
            value.report(format!("{} and listen.{} have the same address", section.name, other.name), None);
        }
        let tls = tls.flatten();
        listeners.push(Listener {
            name,
            address,
            unix_mode,
            trusted_proxies,
            protocols,
            tls,
            proxy_protocol,
            redirect_to_https,
        });
    }
    listeners
}

fn protocols(section: &Section<'_>) -> Protocols {
    let Some(value) = section.get("protocols") else { return Protocols::default() };
    let words = [("h1", false), ("http/1.1", false), ("h2", true), ("http/2", true)];
    let elements = value.array().unwrap_or_default();
    let wanted: Vec<bool> = elements.iter().filter_map(|element| element.parsed(|text| one_of(text, &words))).collect();
    if elements.is_empty() && value.value.is_array() {
        value.report(format!("{} names no protocol", value.key), Some("write [\"h1\", \"h2\"]".into()));
    }
    Protocols { h1: wanted.contains(&false), h2: wanted.contains(&true) }
}

/// The certificate in `cert` and `key`, which serves whoever names no other, and those of
/// `[[listen.NAME.tls.certificate]]`.
fn tls(section: &Section<'_>) -> Option<Tls> {
    let first = certificate(section);
    let others: Vec<_> =
        section.each("certificate").iter().map(|section| (certificate(section), section.finish()).0).collect();
    let ca = path(section, "client_ca");
    let required = section.parsed("client_auth", |text| one_of(text, &[("required", true), ("optional", false)]));
    section.finish();
    if let (None, Some(value)) = (&ca, section.get("client_auth")) {
        let help = "add client_ca = \"ca.pem\", with the authorities that sign the certificates of your clients";
        value.report(format!("{} has no effect without client_ca", value.key), Some(help.into()));
    }
    let certificates = std::iter::once(first).chain(others).collect::<Option<_>>()?;
    let client_ca = ca.map(|file| ClientCa { file, required: required.unwrap_or(true) });
    Some(Tls { certificates, client_ca })
}

fn certificate(section: &Section<'_>) -> Option<CertificateFiles> {
    let (cert, key) = (path(section, "cert"), path(section, "key"));
    for (name, is_there) in [("cert", section.get("cert").is_some()), ("key", section.get("key").is_some())] {
        if !is_there {
            let message = format!("{} has no {name}", section.name);
            let help =
                "add cert = \"site.pem\" (the certificate and those between it and the root) and key = \"site.key\"";
            section.missing(name, section.span.clone(), &message, help);
        }
    }
    Some(CertificateFiles { cert: cert?, key: key? })
}
