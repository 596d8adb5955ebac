//! `[admin]` of the file.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use unstick_reading::Section;

use super::key::{Key, Kind, Shown, keys};
use super::kinds::{List, Optional, Switch, quoted};
use super::model::{Admin, Token};
use super::values;

/// Every key of `[admin]`.
pub(super) const KEYS: &[Key<Admin>] = keys!(Admin {
    address: AdminAddress,
    hosts: List(values::dns_name),
    socket: AdminSocket,
    control: Optional(Switch),
    token: Optional(SecretToken),
});

/// What to write in place of a token.
const TOKEN: &str = "token = \"${file:/run/secrets/unstick-token}\" or token = \"${UNSTICK_TOKEN}\"";

/// The address of the admin port, or `off`.
struct AdminAddress;

impl Kind<Option<SocketAddr>> for AdminAddress {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Option<SocketAddr>> {
        section.parsed(key, |text| if text == "off" { Ok(None) } else { values::listen_address(text).map(Some) })
    }

    fn show(&self, key: &str, value: &Option<SocketAddr>, shown: &mut Shown) {
        shown.add(key, quoted(&value.map_or_else(|| "off".to_owned(), |address| address.to_string())));
    }
}

/// The file of the Unix socket, or `off`.
struct AdminSocket;

impl Kind<Option<Arc<Path>>> for AdminSocket {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Option<Arc<Path>>> {
        section.parsed(key, |text| if text == "off" { Ok(None) } else { values::admin_socket(text).map(Some) })
    }

    fn show(&self, key: &str, value: &Option<Arc<Path>>, shown: &mut Shown) {
        shown.add(key, quoted(&value.as_ref().map_or_else(|| "off".to_owned(), |file| file.display().to_string())));
    }
}

/// A token, which is a secret wherever it came from.
struct SecretToken;

impl Kind<Token> for SecretToken {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Token> {
        let value = section.get(key)?;
        let text = value.string()?;
        if !value.is_from_outside() {
            let message = format!("{}, or a part of it, stands in the file itself, where many may read it", value.key);
            value.report_rule(message, Some(format!("write {TOKEN}")));
            return None;
        }
        value.hide();
        match Token::parse(text) {
            Ok(token) => Some(token),
            Err(what) => {
                let help = "make one with `openssl rand -hex 32`";
                value.report_rule(format!("{}: {what}", value.key), Some(help.to_owned()));
                None
            }
        }
    }

    /// Whoever prints it masks it, as all secrets.
    fn show(&self, key: &str, value: &Token, shown: &mut Shown) {
        shown.add(key, quoted(value.secret()));
    }
}

/// Reports an admin port that anybody could change something over.
pub(super) fn check(top: &Section<'_>, admin: &Admin) {
    let Some((address, section)) = admin.address.zip(top.section("admin")) else { return };
    let is_open = admin.control == Some(true) && !admin.is_on_loopback() && section.get("token").is_none();
    if let (true, Some(value)) = (is_open, section.get("control")) {
        let help = format!("add {TOKEN}, or keep the address on loopback, or leave control out: it is read-only then");
        let message =
            format!("admin.control = true without a token: anybody who reaches {address} could change things");
        value.report_rule(message, Some(help));
    }
}
