//! Addresses of replicas as `reverse_proxy` has them.

use super::environment;

/// The most replicas of a range of ports.
const RANGE_MAX: u16 = 100;

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upstream {
    /// What unstick calls the protocol: `https`, `h2c` or nothing for HTTP/1.1.
    pub(super) protocol: &'static str,
    pub(super) address: String,
}

/// The upstreams that an argument names: more than one for a range of ports.
///
/// # Errors
/// Why they have no translation.
pub(super) fn upstreams(written: &str) -> Result<Vec<Upstream>, String> {
    if environment::has_any(written) {
        return referred(written);
    }
    if written.contains('{') {
        return Err("the replicas of a pool are fixed before a request comes".to_owned());
    }
    for (network, protocol) in [("unix/", ""), ("unix+h2c/", "h2c")] {
        if let Some(file) = written.strip_prefix(network) {
            return Ok(vec![Upstream { protocol, address: format!("unix:{file}") }]);
        }
    }
    let written =
        ["tcp/", "tcp4/", "tcp6/"].iter().find_map(|network| written.strip_prefix(network)).unwrap_or(written);
    let (scheme, rest) = written.split_once("://").unwrap_or(("http", written));
    let (protocol, port) = match scheme {
        "http" => ("", 80),
        "https" => ("https", 443),
        "h2c" => ("h2c", 80),
        other => return Err(format!("unstick does not speak {other}")),
    };
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest.contains(['/', '?', '#', '@']) {
        return Err("this is no address of a replica".to_owned());
    }
    let is_bare_v6 = rest.ends_with(']') || rest.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, ports) = match rest.rsplit_once(':').filter(|_| !is_bare_v6) {
        Some((host, ports)) => (host, range(ports)?),
        None => (rest, port..=port),
    };
    let host = match host {
        "" => "127.0.0.1".to_owned(),
        host if host.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{host}]"),
        host => host.to_owned(),
    };
    Ok(ports.map(|port| Upstream { protocol, address: format!("{host}:{port}") }).collect())
}

/// An upstream with references to the environment. It is kept, if its default says that nothing else is in it.
fn referred(written: &str) -> Result<Vec<Upstream>, String> {
    let Some(default) = environment::defaults(written) else {
        let is_plain = !written.contains("://") && !written.contains('/');
        return if is_plain {
            Ok(vec![Upstream { protocol: "", address: written.to_owned() }])
        } else {
            Err("what the environment says here is not known".to_owned())
        };
    };
    let plain = upstreams(&default)?;
    match &plain[..] {
        // The reference stands for an address with its port, or a part of that.
        [Upstream { protocol, address }] if *address == default => {
            Ok(vec![Upstream { protocol, address: written.to_owned() }])
        }
        _ => Ok(plain),
    }
}

fn range(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let wrong = || format!("`{text}` is no port");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    if first > last || last - first >= RANGE_MAX {
        return Err(format!("{text} is no range of up to {RANGE_MAX} ports"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_caddy() {
        for (text, expected) in [
            ("app:3000", "app:3000"),
            ("app", "app:80"),
            (":8080", "127.0.0.1:8080"),
            ("http://app", "app:80"),
            ("https://app.test", "https app.test:443"),
            ("h2c://app:50051", "h2c app:50051"),
            ("unix//run/a.sock", "unix:/run/a.sock"),
            ("unix+h2c//run/a.sock", "h2c unix:/run/a.sock"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]:80"),
            ("a:1-3", "a:1 a:2 a:3"),
            ("{$UP:app:3000}", "{$UP:app:3000}"),
            ("{$UP:app}:3000", "{$UP:app}:3000"),
            ("{$UP:http://app}", "app:80"),
            ("{$UP}", "{$UP}"),
            ("{re.x.1}", "? the replicas of a pool are fixed before a request comes"),
            ("a:1-999", "? 1-999 is no range of up to 100 ports"),
            ("http://a/b", "? this is no address of a replica"),
            ("srv+https://a", "? unstick does not speak srv+https"),
        ] {
            let shown = match upstreams(text) {
                Ok(all) => {
                    let show = |up: &Upstream| format!("{} {}", up.protocol, up.address).trim().to_owned();
                    all.iter().map(show).collect::<Vec<_>>().join(" ")
                }
                Err(why) => format!("? {why}"),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }
}
