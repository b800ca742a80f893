//! Places as people write them: `127.0.0.1:6432`, `[::1]:6432`, `*:6432`, `localhost`, `unix:/run/pgshunt:6432`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::mistake::Wrong;
use crate::server::address::Address;
use crate::snapshot::Endpoint;

/// The places to listen at that one text names: `*` and `localhost` name an IPv4 and an IPv6 one.
pub(super) fn endpoints(written: &str, default_port: u16) -> Result<Vec<Endpoint>, Wrong> {
    if let Some(path) = unix_path(written) {
        let (directory, port) = directory_and_port(path, default_port)?;
        return Ok(vec![Endpoint::Unix { directory, port }]);
    }
    let (host, port) = host_and_port(written, default_port)?;
    let addresses: Vec<IpAddr> = match host.as_str() {
        "*" => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        name => resolve(name)?,
    };
    let at_port = |ip| Endpoint::Tcp(SocketAddr::new(ip, port));
    Ok(addresses.into_iter().map(at_port).collect())
}

/// The place of a server. Its name is not resolved here: that happens at each connect.
pub(super) fn server(written: &str) -> Result<Address, Wrong> {
    if let Some(path) = unix_path(written) {
        let (directory, port) = directory_and_port(path, SERVER_PORT)?;
        return Ok(Address::Unix { directory, port });
    }
    let (host, port) = host_and_port(written, SERVER_PORT)?;
    Ok(Address::Tcp { host, port })
}

fn unix_path(written: &str) -> Option<&str> {
    written
        .strip_prefix("unix:")
        .or_else(|| written.starts_with('/').then_some(written))
}

fn directory_and_port(path: &str, default_port: u16) -> Result<(PathBuf, u16), Wrong> {
    let (directory, port) = match path.rsplit_once(':') {
        Some((directory, port)) => (directory, self::port(port)?),
        None => (path, default_port),
    };
    if !directory.starts_with('/') {
        return Err(Wrong::new(format!("\"unix:{path}\" has no absolute directory"))
            .hint("write for example \"unix:/run/pgshunt\""));
    }
    Ok((PathBuf::from(directory), port))
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
fn host_and_port(written: &str, default_port: u16) -> Result<(String, u16), Wrong> {
    let (host, port) = match written.strip_prefix('[') {
        Some(bracketed) => {
            let unclosed = || Wrong::new(format!("\"{written}\" lacks a closing bracket"));
            let (host, rest) = bracketed.split_once(']').ok_or_else(unclosed)?;
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(Wrong::new(format!("\"{host}\" is not an IPv6 address")));
            }
            (host, (!rest.is_empty()).then_some(rest))
        }
        None if written.matches(':').count() > 1 => {
            return Err(Wrong::new(format!("\"{written}\" is not an address"))
                .hint("write an IPv6 address in brackets: \"[::1]:5432\""));
        }
        None => match written.find(':') {
            Some(colon) => (&written[..colon], Some(&written[colon..])),
            None => (written, None),
        },
    };
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || "/@?".contains(c)) {
        return Err(Wrong::new(format!("\"{written}\" is not an address"))
            .hint("write \"host:port\", \"[::1]:port\" or \"unix:/directory\""));
    }
    let port = match port {
        Some(rest) => self::port(rest.strip_prefix(':').unwrap_or(rest))?,
        None => default_port,
    };
    Ok((host.to_owned(), port))
}

/// A port that can be connected to.
pub(super) fn port(written: &str) -> Result<u16, Wrong> {
    let port = written.parse().ok().filter(|&port| port > 0);
    port.ok_or_else(|| {
        Wrong::new(format!("\"{written}\" is not a port")).hint("a port is between 1 and 65535")
    })
}

fn resolve(name: &str) -> Result<Vec<IpAddr>, Wrong> {
    if let Ok(ip) = name.parse() {
        return Ok(vec![ip]);
    }
    let found = (name, 0).to_socket_addrs();
    let ips = found.map(|addresses| addresses.map(|address| address.ip()).collect::<Vec<_>>());
    match ips {
        Ok(mut ips) if !ips.is_empty() => {
            ips.dedup();
            Ok(ips)
        }
        Ok(_) | Err(_) => Err(
            Wrong::new(format!("\"{name}\" is not an address of this machine"))
                .hint("write \"127.0.0.1:6432\", \"[::1]:6432\", \"*:6432\" or \"unix:/directory\""),
        ),
    }
}

/// Where a PostgreSQL listens unless someone says otherwise.
pub(super) const SERVER_PORT: u16 = 5432;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_listen_at() {
        for (written, meant) in [
            ("127.0.0.1:6432", "127.0.0.1:6432"),
            ("127.0.0.1", "127.0.0.1:6432"),
            ("[::1]:7000", "[::1]:7000"),
            ("*:6000", "0.0.0.0:6000 [::]:6000"),
            ("localhost:6432", "127.0.0.1:6432 [::1]:6432"),
            ("unix:/run/pgshunt", "unix:/run/pgshunt:6432"),
            ("unix:/run/pgshunt:5432", "unix:/run/pgshunt:5432"),
            ("/run/pgshunt", "unix:/run/pgshunt:6432"),
        ] {
            let shown: Vec<String> = endpoints(written, 6432)
                .expect(written)
                .iter()
                .map(Endpoint::to_string)
                .collect();
            assert_eq!(shown.join(" "), meant);
        }
    }

    #[test]
    fn places_of_servers() {
        for (written, meant) in [
            ("db1", "db1:5432"),
            ("db1:5433", "db1:5433"),
            ("[fe80::1]", "[fe80::1]:5432"),
            ("unix:/var/run/postgresql", "unix:/var/run/postgresql:5432"),
        ] {
            assert_eq!(server(written).expect(written).to_string(), meant);
        }
    }

    #[test]
    fn what_is_no_place() {
        for written in [
            "", ":5432", "h:", "h:0", "h:65536", "h:x", "::1", "[::1", "[::1]x", "[zz]:1", "unix:run",
            "unix:", "a b:1", "http://x",
        ] {
            assert!(server(written).is_err(), "{written}");
            assert!(endpoints(written, 1).is_err(), "{written}");
        }
    }
}
