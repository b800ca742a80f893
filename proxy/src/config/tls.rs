//! TLS, towards clients (`[tls]`) and towards servers (`sslmode` and its files).

use std::path::PathBuf;

use super::files;
use super::mistake::Wrong;
use super::raw::Section;
use crate::server::address::{ServerTls, SslMode};
use crate::snapshot::ClientTls;

/// libpq's words.
pub(super) const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

/// The `[tls]` section. Without a mode: `prefer` if there is a certificate.
pub(super) fn towards_clients(section: &Section) -> ClientTls {
    let certificate = file(section, "certificate", files::readable);
    let key = file(section, "key", files::private);
    let client_ca = file(section, "client_ca", files::readable);
    let (has_certificate, has_key) = (section.place("certificate"), section.place("key"));
    let default = match has_certificate {
        Some(_) => SslMode::Prefer,
        None => SslMode::Disable,
    };
    let mode = section.word("mode", &SSL_MODES).unwrap_or(default);
    match (has_certificate, has_key) {
        (Some(_), None) => {
            section.wrong(Wrong::new("[tls] has a certificate but no key").hint("add key = \"…\""))
        }
        (None, Some(_)) => {
            section.wrong(Wrong::new("[tls] has a key but no certificate").hint("add certificate = \"…\""));
        }
        (None, None) if mode != SslMode::Disable => {
            let what = format!("[tls] has mode \"{}\" but no certificate", word(mode));
            section.wrong(Wrong::new(what).hint("add certificate and key; certs/make.sh makes some to try"));
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
    if verifies(mode) && section.place("client_ca").is_none() {
        let what = format!("[tls] has mode \"{}\" but no client_ca", word(mode));
        section.wrong(Wrong::new(what).hint("add client_ca: the CA that signs your clients' certificates"));
    }
    ClientTls {
        mode,
        certificate,
        key,
        client_ca,
    }
}

/// The `ssl…` keys of a section, over what a wider section said.
pub(super) fn towards_servers(wider: &ServerTls, section: &Section) -> ServerTls {
    ServerTls {
        mode: section.word("sslmode", &SSL_MODES).unwrap_or(wider.mode),
        ca: file(section, "sslrootcert", files::readable).or_else(|| wider.ca.clone()),
        certificate: file(section, "sslcert", files::readable).or_else(|| wider.certificate.clone()),
        key: file(section, "sslkey", files::private).or_else(|| wider.key.clone()),
    }
}

/// Does a section say anything of TLS towards servers?
pub(super) fn is_in(section: &Section) -> bool {
    ["sslmode", "sslrootcert", "sslcert", "sslkey"]
        .iter()
        .any(|key| section.place(key).is_some())
}

/// The same settings with libpq's own exception applied, or what does not go together in them.
pub(super) fn settled(tls: ServerTls) -> Result<ServerTls, Wrong> {
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => return Err(Wrong::new("sslcert is given but no sslkey")),
        (None, Some(_)) => return Err(Wrong::new("sslkey is given but no sslcert")),
        (None, None) | (Some(_), Some(_)) => {}
    }
    if verifies(tls.mode) && tls.ca.is_none() {
        let what = format!("sslmode \"{}\" needs sslrootcert", word(tls.mode));
        return Err(Wrong::new(what)
            .hint("sslrootcert is the PEM file of the CA that signed the servers' certificates"));
    }
    // libpq: "require" with a root certificate behaves as "verify-ca".
    let mode = match tls.mode {
        SslMode::Require if tls.ca.is_some() => SslMode::VerifyCa,
        mode => mode,
    };
    Ok(ServerTls { mode, ..tls })
}

fn file(section: &Section, key: &str, check: fn(&std::path::Path) -> Result<(), Wrong>) -> Option<PathBuf> {
    let path = section.path(key)?;
    if let Err(wrong) = check(&path.value) {
        section.wrong_value(key, path.at, wrong);
    }
    Some(path.value)
}

fn verifies(mode: SslMode) -> bool {
    matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull)
}

/// The word for a mode.
pub(super) fn word(mode: SslMode) -> &'static str {
    let found = SSL_MODES.iter().find(|(_, known)| *known == mode);
    found.map_or("", |(word, _)| *word)
}

/// The files of a connection string that cannot be used.
pub(super) fn unreadable(tls: &ServerTls) -> Vec<Wrong> {
    let checks = [
        ("sslrootcert", tls.ca.as_deref().map(files::readable)),
        ("sslcert", tls.certificate.as_deref().map(files::readable)),
        ("sslkey", tls.key.as_deref().map(files::private)),
    ];
    let wrong = |(key, checked): (&str, Option<Result<(), Wrong>>)| {
        let wrong = checked?.err()?;
        let what = format!("{key} {}", wrong.what);
        Some(Wrong { what, ..wrong })
    };
    checks.into_iter().filter_map(wrong).collect()
}
