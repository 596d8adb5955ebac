//! `[admin]` of the file.

use std::net::SocketAddr;

use unstick_reading::Section;

use super::key::{Key, Kind, Shown, keys};
use super::kinds::{List, quoted};
use super::model::Admin;
use super::values;

/// Every key of `[admin]`.
pub(super) const KEYS: &[Key<Admin>] = keys!(Admin { address: AdminAddress, hosts: List(values::dns_name) });

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
