//! One `[listen.NAME]` of the file.

use std::net::{IpAddr, Ipv4Addr};

use unstick_reading::{Section, one_of};

use super::address::Address;
use super::key::{self, Change, Key, Kind, Shown, keys};
use super::kinds::{FilePath, List, Number, Optional, Word, list, quoted};
use super::model::{AcceptProxy, Admin, CertificateFiles, ClientCa, Listener, Protocols, Tls};
use super::route_actions::Pages;
use super::values;

const PROXY_PROTOCOLS: &[(&str, AcceptProxy)] =
    &[("off", AcceptProxy::Off), ("accept", AcceptProxy::Accept), ("require", AcceptProxy::Require)];
const CLIENT_AUTH: Word<bool> = Word(&[("required", true), ("optional", false)]);

/// Every key of a listener but its address: another address is another listener.
const KEYS: &[Key<Listener>] = keys!(Listener {
    unix_mode: Optional(FileMode),
    trusted_proxies: List(values::network),
    protocols: ProtocolList,
    tls: Optional(Certificates),
    proxy_protocol: Word(PROXY_PROTOCOLS),
    redirect_to_https: Optional(Number(1..=65_535)),
    errors: Pages,
});

/// Reads every listener.
pub(super) fn read_all(top: &Section<'_>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for (name, section) in top.named("listen") {
        let value = section.get("address");
        // The stand-in is for the checks of the other keys only.
        let mut listener = Listener::new(name, Address::from((Ipv4Addr::UNSPECIFIED, 0)));
        key::read(&section, KEYS, &mut listener);
        section.finish();
        check(&section, &listener);
        let message = format!("{} has no address", section.name);
        section.missing("address", section.span.clone(), &message, "add address = \"0.0.0.0:8080\"");
        let Some(value) = value else { continue };
        let Some(address) = value.parsed(values::listener_address) else { continue };
        listener.address = address;
        check_address(&section, &listener);
        if let Some(other) = listeners.iter().find(|other| clash(&other.address, &listener.address)) {
            value.report(format!("{} and listen.{} have the same address", section.name, other.name), None);
        }
        listeners.push(listener);
    }
    listeners
}

/// Reports a listener whose address the admin port has, or would share.
pub(super) fn check_admin(top: &Section<'_>, listeners: &[Listener], admin: &Admin) {
    let tcp = admin.address.map(Address::Tcp);
    let unix = admin.socket.clone().map(Address::Unix);
    for (name, section) in top.named("listen") {
        let listener = listeners.iter().find(|listener| listener.name == name);
        let (Some(listener), Some(value)) = (listener, section.get("address")) else { continue };
        if let Some(admin) = tcp.as_ref().filter(|admin| listener.address.overlaps(admin)) {
            let help = "give one of them another port, or write address = \"off\" in [admin]";
            value
                .report(format!("{} and the admin port ({admin}) have the same port", section.name), Some(help.into()));
        }
        if unix.as_ref() == Some(&listener.address) {
            let help = "give one of them another file, or write socket = \"off\" in [admin]";
            value.report(format!("{} and admin.socket have the same file", section.name), Some(help.into()));
        }
    }
}

/// Whether two listeners cannot both have what is written. Port 0 is a different port each time. Of others that
/// overlap, the more specific one gets the connection.
fn clash(one: &Address, other: &Address) -> bool {
    one == other && one.tcp().is_none_or(|tcp| tcp.port() != 0)
}

/// Reports keys that do not go together.
fn check(section: &Section<'_>, listener: &Listener) {
    if let (true, true, Some(value)) = (
        listener.proxy_protocol != AcceptProxy::Off,
        listener.trusted_proxies.is_empty(),
        section.get("proxy_protocol"),
    ) {
        let help = "add trusted_proxies = [\"10.0.0.0/8\"]: otherwise any client could claim any address";
        value.report(format!("{} without trusted_proxies", value.key), Some(help.into()));
    }
    if let (Some(_), Some(value)) = (listener.redirect_to_https, section.get("tls")) {
        let help = "redirect_to_https is for a listener without tls, which sends its clients to the one with tls";
        value.report(format!("{} has tls and redirect_to_https", section.name), Some(help.into()));
    }
}

/// Reports keys that do not go with the kind of the address.
fn check_address(section: &Section<'_>, listener: &Listener) {
    let Some(value) = section.get("address") else { return };
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    if listener.proxy_protocol != AcceptProxy::Off
        && listener.address.tcp().is_none()
        && !listener.trusted_proxies.iter().any(|trusted| trusted.contains(&local))
    {
        let help = "add \"127.0.0.1\" to trusted_proxies: clients of a Unix socket count as that";
        value.report(format!("{} does not trust the clients of its Unix socket", section.name), Some(help.into()));
    }
    if let (Some(_), Some(value)) = (listener.address.tcp(), section.get("unix_mode")) {
        let help = "leave it out, or listen on a Unix socket: address = \"unix:/run/unstick.sock\"";
        value.report(format!("{} does not apply to a TCP address", value.key), Some(help.into()));
    }
}

/// Permissions of a Unix socket.
struct FileMode;

impl Kind<u32> for FileMode {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<u32> {
        section.parsed(key, values::file_mode)
    }

    fn show(&self, key: &str, value: &u32, shown: &mut Shown) {
        shown.add(key, quoted(&format!("{value:03o}")));
    }
}

/// The list of versions of HTTP.
struct ProtocolList;

impl Kind<Protocols> for ProtocolList {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Protocols> {
        let value = section.get(key)?;
        let words = [("h1", false), ("http/1.1", false), ("h2", true), ("http/2", true)];
        let elements = value.array().unwrap_or_default();
        let wanted: Vec<bool> =
            elements.iter().filter_map(|element| element.parsed(|text| one_of(text, &words))).collect();
        if elements.is_empty() && value.value.is_array() {
            value.report(format!("{} names no protocol", value.key), Some("write [\"h1\", \"h2\"]".into()));
        }
        Some(Protocols { h1: wanted.contains(&false), h2: wanted.contains(&true) })
    }

    fn show(&self, key: &str, value: &Protocols, shown: &mut Shown) {
        let Protocols { h1, h2 } = *value;
        let names = [(h1, "h1"), (h2, "h2")].into_iter().filter(|(is_spoken, _)| *is_spoken);
        shown.add(key, list(names.map(|(_, name)| quoted(name))));
    }
}

/// The table `tls`: the first certificate in `cert` and `key`, others in `certificate`, and those of clients.
struct Certificates;

impl Kind<Tls> for Certificates {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Tls> {
        let section = section.section(key)?;
        let first = certificate(&section);
        let others: Vec<_> =
            section.each("certificate").iter().map(|section| (certificate(section), section.finish()).0).collect();
        let ca = FilePath.read(&section, "client_ca");
        let required = CLIENT_AUTH.read(&section, "client_auth");
        section.finish();
        if let (None, Some(value)) = (&ca, section.get("client_auth")) {
            let help = "add client_ca = \"ca.pem\", with the authorities that sign the certificates of your clients";
            value.report(format!("{} has no effect without client_ca", value.key), Some(help.into()));
        }
        let certificates = std::iter::once(first).chain(others).collect::<Option<_>>()?;
        let client_ca = ca.map(|file| ClientCa { file, required: required.unwrap_or(true) });
        Some(Tls { certificates, client_ca })
    }

    fn show(&self, key: &str, value: &Tls, shown: &mut Shown) {
        let Tls { certificates, client_ca } = value;
        shown.within(key, |shown| {
            let mut certificates = certificates.iter();
            if let Some(CertificateFiles { cert, key }) = certificates.next() {
                FilePath.show("cert", cert, shown);
                FilePath.show("key", key, shown);
            }
            if !certificates.as_slice().is_empty() {
                shown.add("certificate", list(certificates.map(written)));
            }
            if let Some(ClientCa { file, required }) = client_ca {
                FilePath.show("client_ca", file, shown);
                CLIENT_AUTH.show("client_auth", required, shown);
            }
        });
    }
}

fn certificate(section: &Section<'_>) -> Option<CertificateFiles> {
    let [cert, key] = ["cert", "key"].map(|name| FilePath.read(section, name));
    for (name, value) in [("cert", section.get("cert")), ("key", section.get("key"))] {
        if value.is_none() {
            let message = format!("{} has no {name}", section.name);
            let help =
                "add cert = \"site.pem\" (the certificate and those between it and the root) and key = \"site.key\"";
            section.missing(name, section.span.clone(), &message, help);
        }
    }
    Some(CertificateFiles { cert: cert?, key: key? })
}

/// A certificate as the file would say it.
fn written(CertificateFiles { cert, key }: &CertificateFiles) -> String {
    let [cert, key] = [cert, key].map(|file| quoted(&file.display().to_string()));
    format!("{{ cert = {cert}, key = {key} }}")
}

impl Listener {
    /// The keys that differ in `next`, which has the same address.
    pub fn changes(&self, next: &Self) -> Vec<Change> {
        key::changes(KEYS, self, next)
    }
}
