//! Strings of the file to values of the model: addresses, names, paths, patterns. Pure.
//!
//! An error says what is wrong and, after `; `, what to write instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use http::HeaderName;
use ipnet::{IpNet, Ipv4Net};

use super::address::{self, Address};
use super::model::{AccessLogTarget, BackendAddress, HostPattern, PathPattern, Pattern, StatusRanges};
use super::{path, percent};

/// Longest path of a Unix socket that the kernel takes (`sun_path` with its final zero).
const UNIX_BYTES_MAX: usize = 107;

/// Address of a listener: that of a Unix socket, or as [`listen_address`] says.
pub(super) fn listener_address(text: &str) -> Result<Address, String> {
    unix_socket(text).unwrap_or_else(|| listen_address(text).map(Address::Tcp))
}

/// `unix:/run/app.sock`; `None` if it is something else.
fn unix_socket(text: &str) -> Option<Result<Address, String>> {
    let file = text.strip_prefix(address::UNIX)?;
    let is_absolute = Path::new(file).is_absolute() && file.len() <= UNIX_BYTES_MAX;
    let help = "write an absolute path of at most 107 bytes, as in \"unix:/run/app.sock\"";
    Some(if is_absolute {
        Ok(Address::Unix(Path::new(file).into()))
    } else {
        Err(format!("`{text}` is not a Unix socket; {help}"))
    })
}

/// The file of the admin port's Unix socket.
pub(super) fn admin_socket(text: &str) -> Result<Arc<Path>, String> {
    if Path::new(text).is_absolute() && text.len() <= UNIX_BYTES_MAX {
        return Ok(Path::new(text).into());
    }
    let help = "write an absolute path of at most 107 bytes, as in \"/run/unstick/ctl.sock\", or \"off\"";
    Err(format!("`{text}` is not the file of a Unix socket; {help}"))
}

/// Permissions of a file, in octal digits: `660`, `0660`.
pub(super) fn file_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| {
        matches!(text.trim_start_matches('0').len(), 3) && text.bytes().all(|digit| digit.is_ascii_digit())
    });
    mode.ok_or_else(|| format!("`{text}` is not a file mode; write three octal digits, as in \"660\""))
}

/// Address of the admin port, or of a listener in TCP: `:8080` (all of this machine, both families), `127.0.0.1:8080`,
/// `[::1]:80`, `localhost:8080`. An IPv4 address in IPv6 clothes is an IPv4 address.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    text.parse().map(canonical).map_err(|_| {
        let help = if text.contains("://") {
            "leave out the scheme, as in \"0.0.0.0:8080\""
        } else {
            "write \"0.0.0.0:8080\", \":8080\" or \"[::]:8080\""
        };
        format!("`{text}` is not an address and port; {help}")
    })
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Address of a name server: an IP address, with a port if it is not 53.
pub(super) fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    bare.or_else(|_| text.parse())
        .ok()
        .filter(|address| address.port() != 0)
        .map(canonical)
        .ok_or_else(|| format!("`{text}` is not a name server; write \"10.0.0.2\" or \"10.0.0.2:53\""))
}

/// An IP address or a network in CIDR form.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let host = text.parse::<IpAddr>().map(IpNet::from);
    host.or_else(|_| text.parse())
        .map(canonical_network)
        .map_err(|_| format!("`{text}` is not a network; write \"10.0.0.0/8\" or \"10.0.0.1\""))
}

/// A network of IPv4 addresses in IPv6 clothes is one of IPv4.
fn canonical_network(network: IpNet) -> IpNet {
    let length = network.prefix_len().checked_sub(96);
    match (network.addr().to_canonical(), length) {
        (IpAddr::V4(address), Some(length)) if network.addr().is_ipv6() => {
            Ipv4Net::new(address, length).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

/// `host:port` of a backend.
pub(super) fn backend_address(text: &str) -> Result<BackendAddress, String> {
    if let Some(Ok(Address::Unix(file))) = unix_socket(text) {
        return Ok(BackendAddress::Unix(file));
    }
    if let Some(Err(error)) = unix_socket(text) {
        return Err(error);
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(format!(
            "a backend is an address and a port, without `{scheme}://`; write \"{}\"",
            rest.split('/').next().unwrap_or_default()
        ));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 {
            Err(format!("`{text}`: port 0 is not a port"))
        } else {
            Ok(BackendAddress::Socket(canonical(address)))
        };
    }
    let needs_port = || format!("`{text}` needs a port; write \"{text}:80\", with the port of the replica");
    match text.parse() {
        Ok(IpAddr::V4(_)) => return Err(needs_port()),
        Ok(IpAddr::V6(_)) => {
            let example = "write an IPv6 address in brackets, as in \"[::1]:80\"";
            return Err(format!("`{text}` needs a port; {example}"));
        }
        Err(_) => {}
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(needs_port)?;
    let port =
        port.parse().ok().filter(|&port| port != 0).ok_or_else(|| format!("`{text}`: `{port}` is not a port"))?;
    let (name, dot) = (dns_name(host)?, if host.ends_with('.') { "." } else { "" });
    Ok(BackendAddress::Name { host: name + dot, port })
}

/// What a certificate is for: a DNS name, or an IP address.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() { Ok(text.to_owned()) } else { dns_name(text) }
}

/// A DNS name, brought to lower case and without the final dot.
pub(super) fn dns_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let looks_like_ip = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if name.len() <= 253 && name.split('.').all(is_label) && !looks_like_ip {
        Ok(name)
    } else {
        Err(format!("`{text}` is not a valid host name"))
    }
}

/// `*`, `shop.example.com` or `*.example.com`.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, String> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some(domain) = text.strip_prefix("*.") {
        return dns_name(domain).map(HostPattern::Below);
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(HostPattern::Exact(if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return Err(format!("the host of a route is a name only: `{text}`; write \"{host}\""));
    }
    // An IPv6 address has colons of its own; behind it the port stands behind a bracket.
    let host = match text.rsplit_once("]:") {
        Some((address, _)) => Some(format!("{address}]")),
        None => text.split_once(':').map(|(host, _)| host.to_owned()),
    };
    if let Some(host) = host {
        return Err(format!("the host of a route has no port: `{text}`; write \"{host}\""));
    }
    dns_name(text).map(HostPattern::Exact)
}

/// `/prefix`, `=/exact` or `~regular expression`.
pub(super) fn path_pattern(text: &str) -> Result<PathPattern, String> {
    if let Some(pattern) = text.strip_prefix('~') {
        return regex_of_path(pattern).map(PathPattern::Regex);
    }
    let (path, is_exact) = text.strip_prefix('=').map_or((text, false), |path| (path, true));
    if is_exact && !path.starts_with('/') {
        return Err(format!("a path starts with a slash; write \"=/{path}\""));
    }
    let encoded = origin_form(path)?;
    if path.contains('?') {
        return Err(format!("the path of a route has no query: `{text}`"));
    }
    if !is_exact {
        no_pattern(path)?;
    }
    let normal = path::normal(&encoded).into_owned();
    Ok(if is_exact { PathPattern::Exact(normal) } else { PathPattern::Prefix(normal) })
}

/// The regular expression of `~...`. nginx writes `~*` where the case of letters does not count.
fn regex_of_path(text: &str) -> Result<Pattern, String> {
    if let Some(rest) = text.strip_prefix('*') {
        return Err(format!(
            "`~*` is nginx's; write \"~(?i){}\", where the case of letters does not count",
            rest.trim()
        ));
    }
    if text.is_empty() || text.starts_with(' ') {
        return Err("a regular expression follows the tilde; write \"~^/v[12]/\"".to_owned());
    }
    let pattern = Pattern::new(text)?;
    in_no_path(text).map_or(Ok(pattern), |(what, instead)| {
        Err(format!(
            "`{text}` fits no path: routes compare a path in its normal form, which has no `{what}`; {instead}"
        ))
    })
}

/// What a regular expression asks for that no normal path has, and what to write instead.
fn in_no_path(regex: &str) -> Option<(String, String)> {
    // In this form, white space has no meaning.
    if regex.contains("(?x") {
        return None;
    }
    let literal = without_classes(regex);
    if let Some(odd) = literal.chars().find(|c| *c == ' ' || !c.is_ascii()) {
        let mut bytes = [0; 4];
        let encoded: String = odd.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect();
        return Some((odd.to_string(), format!("write \"{encoded}\"")));
    }
    if literal.contains("//") {
        return Some(("//".to_owned(), "write \"/\"".to_owned()));
    }
    let code = |at: usize| literal.get(at..at + 3).filter(|code| code.bytes().skip(1).all(|b| b.is_ascii_hexdigit()));
    let codes = literal.match_indices('%').filter_map(|(at, _)| code(at));
    let mut unlike = codes.map(|code| (code, path::decoded(code, path::PLAIN))).filter(|(code, normal)| code != normal);
    unlike.next().map(|(code, normal)| (code.to_owned(), format!("write \"{normal}\"")))
}

/// A regular expression without what is in square brackets.
fn without_classes(regex: &str) -> String {
    let (mut depth, mut is_escaped) = (0_usize, false);
    let is_outside = |c: &char| {
        let was_escaped = is_escaped;
        is_escaped = *c == '\\' && !was_escaped;
        match c {
            '[' if !was_escaped => depth += 1,
            ']' if !was_escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    };
    regex.chars().filter(is_outside).collect()
}

/// A name that the operator has chosen.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a name is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// The name of a header field.
pub(super) fn field_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("`{text}` is not the name of a header field"))
}

/// Other proxies have patterns in paths. Here each would be taken literally, and hardly any request would fit.
fn no_pattern(path: &str) -> Result<(), String> {
    let Some(at) = path.find(['*', '{']) else { return Ok(()) };
    let (before, pattern) = path.split_at(at);
    // `/api*` may mean `/api`, but what is before the pattern in `/api/v{n}/x` is only a part of a segment.
    let whole = if pattern == "*" { before } else { before.rfind('/').map_or("", |slash| &before[..slash]) };
    let plain = whole.trim_end_matches('/');
    let plain = if plain.is_empty() { "/" } else { plain };
    let help = format!("write \"{plain}\", or a regular expression, as in \"~^/v[12]/items/\"");
    Err(format!("a path has no patterns, it is for all paths below it too: `{path}`; {help}"))
}

/// A path, with a query if need be, that can stand in a request line. What no URL may contain is percent-encoded, as
/// browsers send it.
pub(super) fn origin_form(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("a path starts with a slash; write \"/{}\"", text.trim_start_matches('/')));
    }
    let mut encoded = Vec::with_capacity(text.len());
    percent::encode(text.as_bytes(), &mut encoded);
    let encoded = String::from_utf8(encoded).ok().filter(|path| path.parse::<http::uri::PathAndQuery>().is_ok());
    encoded.filter(|path| !path.contains('#')).ok_or_else(|| format!("`{text}` is not a valid path"))
}

/// What can stand in a `Host` field.
pub(super) fn host_field(text: &str) -> Result<String, String> {
    match text.parse::<http::uri::Authority>() {
        Ok(authority) if !authority.as_str().contains('@') => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not a host; write a name, with a port if it needs one")),
    }
}

/// `off`, `stdout` or the path of a file.
pub(super) fn access_target(folder: &Path, text: &str) -> Result<Option<AccessLogTarget>, String> {
    match text {
        "off" => Ok(None),
        "stdout" => Ok(Some(AccessLogTarget::Stdout)),
        "" => Err("the path is empty; write \"off\", \"stdout\" or the path of a file".to_owned()),
        "stderr" | "on" => Err(format!("`{text}` is not supported; write \"stdout\" or the path of a file")),
        path => Ok(Some(AccessLogTarget::File(folder.join(path)))),
    }
}

/// `200-399`, `204`, `2xx`.
pub(super) fn status_range(text: &str) -> Result<(u16, u16), String> {
    let expected = || format!("`{text}` is not a status; write \"200\", \"200-399\" or \"2xx\"");
    let code =
        |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code)).ok_or_else(expected);
    if let Some(class) = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()) {
        return if (1..=5).contains(&class) { Ok((class * 100, class * 100 + 99)) } else { Err(expected()) };
    }
    let (low, high) = match text.split_once('-') {
        Some((low, high)) => (code(low)?, code(high)?),
        None => (code(text)?, code(text)?),
    };
    if low <= high { Ok((low, high)) } else { Err(expected()) }
}

/// Ranges from what was written, if any was.
pub(super) fn status_ranges(ranges: Vec<(u16, u16)>) -> Option<StatusRanges> {
    (!ranges.is_empty()).then_some(StatusRanges(ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends() {
        for (text, expected) in [
            ("10.0.0.1:80", Ok("10.0.0.1:80")),
            ("[::1]:80", Ok("[::1]:80")),
            ("[::ffff:10.0.0.1]:80", Ok("10.0.0.1:80")),
            ("App.Internal:3000", Ok("app.internal:3000")),
            ("App.Internal.:3000", Ok("app.internal.:3000")),
            ("my_app._x:3000", Ok("my_app._x:3000")),
            ("app..:3000", Err("not a valid host name")),
            ("10.0.0.1", Err("needs a port")),
            ("app", Err("needs a port")),
            ("http://10.0.0.1:80/", Err("write \"10.0.0.1:80\"")),
            ("app:0", Err("not a port")),
            ("app:99999", Err("not a port")),
            ("10.0.0.300:80", Err("not a valid host name")),
            ("-a.b:80", Err("not a valid host name")),
            ("a b:80", Err("not a valid host name")),
            ("10.0.0.1:0", Err("port 0")),
            ("http://app:80/x", Err("write \"app:80\"")),
            ("::1:80", Err("brackets")),
            ("", Err("needs a port")),
        ] {
            match (backend_address(text), expected) {
                (Ok(address), Ok(expected)) => assert_eq!(address.to_string(), expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn listeners() {
        for (text, expected) in [
            (":8080", "[::]:8080"),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
            ("localhost:1", "127.0.0.1:1"),
            ("[::]:80", "[::]:80"),
            ("1.2.3.4:0", "1.2.3.4:0"),
        ] {
            assert_eq!(listen_address(text).map(|address| address.to_string()), Ok(expected.to_owned()));
        }
        for text in ["", "8080", "http://0.0.0.0:80", ":99999", "app:80"] {
            assert!(listen_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns() {
        assert_eq!(host_pattern("*"), Ok(HostPattern::Any));
        assert_eq!(host_pattern("Shop.Example.com."), Ok(HostPattern::Exact("shop.example.com".into())));
        assert_eq!(host_pattern("*.Example.com"), Ok(HostPattern::Below("example.com".into())));
        assert_eq!(host_pattern("10.0.0.1"), Ok(HostPattern::Exact("10.0.0.1".into())));
        assert!(host_pattern("shop.example.com:80").is_err() && host_pattern("a.*.b").is_err());
        assert_eq!(path_pattern("/api/"), Ok(PathPattern::Prefix("/api/".into())));
        assert_eq!(path_pattern("=/x"), Ok(PathPattern::Exact("/x".into())));
        assert_eq!(path_pattern("=/café"), Ok(PathPattern::Exact("/caf%C3%A9".into())));
        assert_eq!(path_pattern("/x/../%61pi/"), Ok(PathPattern::Prefix("/api/".into())));
        assert_eq!(path_pattern("~^/v[12]/").map(|path| path.to_string()), Ok("~^/v[12]/".into()));
        for (text, part) in [
            ("~(", "no regular expression: unclosed group"),
            ("~", "follows the tilde"),
            ("~* \\.php$", "write \"~(?i)\\.php$\""),
            ("~(a{1000}){1000}", "too much memory"),
            (&format!("~{}", "(".repeat(60)), "no regular expression"),
        ] {
            assert!(path_pattern(text).is_err_and(|error| error.contains(part)), "{text}: {:?}", path_pattern(text));
        }
        assert!(host_pattern("https://a.b/c").is_err_and(|error| error.contains("write \"a.b\"")));
        assert!(host_pattern("[::1]:80").is_err_and(|error| error.contains("write \"[::1]\"")));
        assert!(path_pattern("=x").is_err_and(|error| error.contains("write \"=/x\"")));
        assert!(path_pattern("api").is_err() && path_pattern("/a?b").is_err() && path_pattern("/a b").is_err());
    }

    #[test]
    fn statuses() {
        for (text, expected) in [("200", (200, 200)), ("200-399", (200, 399)), ("2xx", (200, 299))] {
            assert_eq!(status_range(text), Ok(expected));
        }
        for text in ["", "99", "600", "399-200", "6xx", "ok"] {
            assert!(status_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_and_name_servers() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        assert_eq!(network("::ffff:10.0.0.0/104").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("::ffff:10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert!(network("10.0.0.0/33").is_err());
        assert_eq!(dns_server("10.0.0.2").unwrap().to_string(), "10.0.0.2:53");
        assert_eq!(dns_server("127.0.0.1:5353").unwrap().to_string(), "127.0.0.1:5353");
        assert!(dns_server("dns.example.com").is_err());
    }
}
