//! `[auth]` and `[console]`: who may log in, to databases and to the console.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::database::no_name_twice;
use super::files;
use super::keys;
use super::mistake::Wrong;
use super::raw::{Section, Written};
use crate::snapshot::{Auth, AuthMode, AuthUser, Console, Credential, DEFAULT_AUTH_QUERY, SecretText};

/// The `[auth]` section; `None` when there is none. Certificates count where `[tls]` can check them.
pub(super) fn auth(section: Option<&Section>, checks_certificates: bool) -> Auth {
    let Some(section) = section else {
        return Auth {
            mode: AuthMode::Passthrough,
            users: Vec::new(),
            auth_query: DEFAULT_AUTH_QUERY.to_owned(),
        };
    };
    let mode = section.word("mode", &MODES).unwrap_or_default();
    let sections = section.sections("user", &keys::AUTH_USER);
    no_name_twice(&sections, "user");
    if mode == AuthMode::Users && section.place("user").is_none() {
        let wrong = Wrong::new("[auth] has mode \"users\" but no [[auth.user]]: nobody could log in");
        section.wrong(wrong);
    }
    let written = section.name("auth_query");
    if let Some(query) = written.filter(|query| !query.value.contains("$1")) {
        let wrong = Wrong::new("does not ask for $1, the role").hint("it returns one row: name, verifier");
        section.wrong_value("auth_query", query.at, wrong);
    }
    Auth {
        mode,
        users: sections
            .iter()
            .filter_map(|section| user(section, checks_certificates))
            .collect(),
        auth_query: written.map_or(DEFAULT_AUTH_QUERY, |query| query.value).to_owned(),
    }
}

fn user(section: &Section, checks_certificates: bool) -> Option<AuthUser> {
    if section.place("name").is_none() {
        section.wrong(Wrong::new("[[auth.user]] has no name").hint("add name = \"…\""));
    }
    let name = section.name("name").map(|text| text.value.to_owned());
    let cert = section.name("cert");
    if let Some(cert) = cert.filter(|_| !checks_certificates) {
        let wrong = Wrong::new("needs client_ca in [tls]: nobody checks certificates without it");
        section.wrong_value("cert", cert.at, wrong);
    }
    let (verifier, file) = (section.place("verifier"), section.place("password_file"));
    let credential = match (verifier, file) {
        (Some(_), None) => Some(section.text("verifier").and_then(|text| verified(section, text))),
        (None, Some(_)) => Some(section.path("password_file").and_then(|path| {
            let secret = files::secret(&path.value);
            let secret = secret.map_err(|wrong| section.wrong_value("password_file", path.at, wrong));
            secret.ok().map(Credential::Password)
        })),
        (None, None) if section.place("cert").is_some() => None,
        (None, None) => {
            let wrong = Wrong::new("[[auth.user]] needs a verifier, a password_file or a cert");
            section.wrong(wrong);
            return None;
        }
        (Some(_), Some(_)) => {
            let wrong = Wrong::new("[[auth.user]] has both a verifier and a password_file");
            section.wrong(wrong.hint("keep one of them"));
            return None;
        }
    };
    Some(AuthUser {
        name: name?,
        credential: match credential {
            Some(read) => Some(read?),
            None => None,
        },
        cert: cert.map(|text| text.value.to_owned()),
    })
}

fn verified(section: &Section, written: Written<&str>) -> Option<Credential> {
    let secret = SecretText::new(written.value);
    if is_scram(written.value) {
        return Some(Credential::Scram(secret));
    }
    if is_md5(written.value) {
        return Some(Credential::Md5(secret));
    }
    let wrong = Wrong::new("is neither a SCRAM-SHA-256 verifier nor an md5 one");
    let hint = "copy rolpassword from pg_authid: SELECT rolpassword FROM pg_authid WHERE rolname = '…'";
    section.wrong_value("verifier", written.at, wrong.hint(hint));
    None
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (PostgreSQL, `parse_scram_secret`).
pub(super) fn is_scram(written: &str) -> bool {
    let parts = || {
        let rest = written.strip_prefix("SCRAM-SHA-256$")?;
        let (first, keys) = rest.split_once('$')?;
        let (iterations, salt) = first.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations: u32 = iterations.parse().ok()?;
        let bytes = |text: &str| BASE64_STANDARD.decode(text).ok();
        Some((iterations, bytes(salt)?, bytes(stored)?, bytes(server)?))
    };
    parts().is_some_and(|(iterations, salt, stored, server)| {
        iterations > 0 && !salt.is_empty() && stored.len() == SHA256_BYTES && server.len() == SHA256_BYTES
    })
}

pub(super) fn is_md5(written: &str) -> bool {
    written
        .strip_prefix("md5")
        .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The `[console]` section.
pub(super) fn console(section: &Section) -> Console {
    let admins = roles(section, "admins");
    let watchers = roles(section, "watchers");
    for both in watchers.iter().filter(|watcher| admins.contains(watcher)) {
        let at = section.place("watchers").unwrap_or(section.at);
        let wrong = Wrong::new(format!("names \"{both}\", which is among admins already"));
        section.wrong_value("watchers", at, wrong.hint("an admin may watch; name it once"));
    }
    Console { admins, watchers }
}

fn roles(section: &Section, key: &str) -> Vec<String> {
    let mut roles = Vec::new();
    for Written { value, at } in section.texts(key).unwrap_or_default() {
        match value {
            "" => section.wrong_value(key, at, Wrong::new("has an empty name")),
            "*" => {
                let wrong = Wrong::new("cannot be everybody").hint("name each role");
                section.wrong_value(key, at, wrong);
            }
            role => roles.push(role.to_owned()),
        }
    }
    roles
}

const MODES: [(&str, AuthMode); 3] = [
    ("passthrough", AuthMode::Passthrough),
    ("users", AuthMode::Users),
    ("trust", AuthMode::Trust),
];

const SHA256_BYTES: usize = 32;
