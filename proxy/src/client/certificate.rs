//! What a client's certificate says of who it is, beside or instead of a password. Whether it is genuine was rustls's to say.
//!
//! PostgreSQL: the `cert` method and `clientcert=verify-full` of `pg_hba.conf`.

use super::authenticate::Credential;
use super::credentials::Found;
use super::handshake::Arrived;
use crate::protocol::auth::Secret;

/// What this client's proof is held against.
///
/// The certificate that `[[auth.user]]` names for the role lets it in by itself. Where certificates must name the role
/// (`verify-full`), one that doesn't dooms the exchange: it looks like a wrong password.
pub fn held_against<S>(found: &Found, arrived: &Arrived<S>) -> Credential {
    let tls = arrived.tls.as_ref();
    let name = tls.and_then(|tls| tls.common_name.as_deref());
    if found.cert.is_some() && name == found.cert.as_deref() {
        return Credential::Trust;
    }
    let expected = found.cert.as_deref().unwrap_or(&arrived.startup.user);
    match tls {
        Some(tls) if tls.names_roles && name != Some(expected) => doomed(&found.credential),
        Some(_) | None => found.credential.clone(),
    }
}

/// The same exchange, which fails at its end.
fn doomed(credential: &Credential) -> Credential {
    match credential {
        Credential::Verifier(verifier) | Credential::Unknown(verifier) => {
            Credential::Unknown(verifier.clone())
        }
        // No answer is right where there is no hash.
        Credential::Md5Hash(_) => Credential::Md5Hash(Secret::None),
        Credential::Trust | Credential::Reject => Credential::Reject,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::handshake::TlsFacts;
    use super::*;
    use crate::net::inbox::Inbox;
    use crate::protocol::auth::verifier::Verifier;
    use crate::protocol::startup::Startup;

    fn arrived(name: Option<&str>, names_roles: bool) -> Arrived<()> {
        Arrived {
            stream: (),
            startup: Startup {
                user: "ann".into(),
                ..Startup::default()
            },
            tls: Some(TlsFacts {
                description: String::new(),
                end_point: None,
                common_name: name.map(str::to_owned),
                names_roles,
            }),
            inbox: Inbox::default(),
        }
    }

    fn kind(cert: Option<&str>, name: Option<&str>, names_roles: bool) -> &'static str {
        let verifier = Verifier::mock(&[1; 32], "ann", NonZeroU32::MIN);
        let found = Found {
            credential: Credential::Verifier(verifier),
            login: None,
            cert: cert.map(str::to_owned),
            because: "",
        };
        match held_against(&found, &arrived(name, names_roles)) {
            Credential::Trust => "in",
            Credential::Verifier(_) => "password",
            Credential::Unknown(_) => "doomed",
            Credential::Md5Hash(_) | Credential::Reject => "?",
        }
    }

    #[test]
    fn names_and_what_they_are_good_for() {
        for (cert, name, names_roles, expected) in [
            (None, None, false, "password"),
            (None, Some("ann"), false, "password"),
            (None, Some("bob"), false, "password"),
            (None, Some("ann"), true, "password"),
            (None, Some("bob"), true, "doomed"),
            (None, None, true, "doomed"),
            (Some("ann.example"), Some("ann.example"), false, "in"),
            (Some("ann.example"), Some("ann.example"), true, "in"),
            (Some("ann.example"), Some("ann"), false, "password"),
            (Some("ann.example"), Some("ann"), true, "doomed"),
            (Some("ann.example"), None, false, "password"),
        ] {
            assert_eq!(
                kind(cert, name, names_roles),
                expected,
                "{cert:?} {name:?} {names_roles}"
            );
        }
    }
}
