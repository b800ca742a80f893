//! When are two questions the same? When nothing they say differs, and nothing of who says it that could matter.

use std::hash::{BuildHasher, DefaultHasher, Hasher as _, RandomState};
use std::sync::Arc;

use crate::protocol::session::Session;
use crate::protocol::session::reported::Reported;
use crate::protocol::session::settings::{Settings, Shared};

/// Who asks: database, role, every setting of the session that could change an answer.
#[derive(Clone, Debug)]
pub struct Context {
    /// All of it, each part with its length.
    pub bytes: Arc<[u8]>,
    /// `pgshunt.tenant`; empty for none.
    pub tenant: Arc<[u8]>,
    under: (Shared, Reported),
}

impl Context {
    /// Of a session.
    pub fn of(database: &str, user: &str, session: &Session) -> Self {
        let mut bytes = Vec::with_capacity(256);
        add(&mut bytes, database.as_bytes());
        add(&mut bytes, user.as_bytes());
        for name in REPORTED {
            add(&mut bytes, session.reported.value(name).unwrap_or_default());
        }
        for (name, value) in session
            .settings
            .iter()
            .filter(|(name, _)| matters(name, &session.settings))
        {
            add(&mut bytes, name);
            add(&mut bytes, value);
        }
        Context {
            bytes: bytes.into(),
            tenant: session
                .settings
                .value(b"pgshunt.tenant")
                .unwrap_or_default()
                .into(),
            under: (session.settings.clone(), session.reported.clone()),
        }
    }

    /// Is it still the session's?
    pub fn is_of(&self, session: &Session) -> bool {
        let (settings, reported) = &self.under;
        let has_set = Arc::ptr_eq(settings, &session.settings) || *settings == session.settings;
        has_set && (Arc::ptr_eq(reported, &session.reported) || *reported == session.reported)
    }
}

fn add(bytes: &mut Vec<u8>, part: &[u8]) {
    // A part longer than 4 GiB does not fit into a message.
    bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
    bytes.extend_from_slice(part);
}

/// What a server reports and an answer may depend on; a default of the role or the database shows here.
const REPORTED: [&[u8]; 8] = [
    b"client_encoding",
    b"DateStyle",
    b"IntervalStyle",
    b"TimeZone",
    b"standard_conforming_strings",
    b"is_superuser",
    b"session_authorization",
    b"server_version",
];

/// Settings that change no answer. Everything else does, or could.
const HARMLESS: [&[u8]; 14] = [
    b"application_name",
    b"client_min_messages",
    b"idle_in_transaction_session_timeout",
    b"idle_session_timeout",
    b"lock_timeout",
    b"statement_timeout",
    b"synchronous_commit",
    b"tcp_keepalives_count",
    b"tcp_keepalives_idle",
    b"tcp_keepalives_interval",
    b"tcp_user_timeout",
    b"pgshunt.cache",
    b"pgshunt.consistency",
    b"pgshunt.trace",
];

fn matters(name: &[u8], settings: &Settings) -> bool {
    let is = |other: &&[u8]| name.eq_ignore_ascii_case(other);
    if name.eq_ignore_ascii_case(b"pgshunt.target") {
        // Which server of a shard answers makes no difference; which shard does.
        return settings.value(name).is_some_and(|value| value.contains(&b':'));
    }
    !HARMLESS.iter().any(is)
}

/// Makes numbers of keys, others in each process.
#[derive(Debug, Default)]
pub struct Hasher {
    high: RandomState,
    low: RandomState,
}

impl Hasher {
    /// The number of who asks.
    pub fn context(&self, context: &[u8]) -> u128 {
        self.both(|hasher| hasher.write(context))
    }

    /// The number of a question, by who asks it.
    pub fn hash(&self, context: u128, body: &[u8]) -> u128 {
        self.both(|hasher| {
            hasher.write_u128(context);
            hasher.write(body);
        })
    }

    fn both(&self, write: impl Fn(&mut DefaultHasher)) -> u128 {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            write(&mut hasher);
            u128::from(hasher.finish())
        };
        half(&self.high) << 64 | half(&self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::session::settings::Settings;

    fn context(user: &str, settings: &[(&str, &str)]) -> Context {
        let settings = settings
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let session = Session::new(1, Arc::new(Settings::collect(settings)), Default::default());
        Context::of("d", user, &session)
    }

    #[test]
    fn what_could_change_an_answer_makes_another_context() {
        let plain = context("u", &[]);
        for (user, settings) in [
            ("v", &[][..]),
            ("u", &[("role", "x")]),
            ("u", &[("search_path", "s")]),
            ("u", &[("bytea_output", "escape")]),
            ("u", &[("app.tenant", "1")]),
            ("u", &[("pgshunt.tenant", "1")]),
            ("u", &[("pgshunt.target", "shard:a")]),
        ] {
            assert_ne!(context(user, settings).bytes, plain.bytes, "{user} {settings:?}");
        }
        for settings in [
            ("application_name", "x"),
            ("pgshunt.target", "primary"),
            ("PGSHUNT.CACHE", "auto"),
        ] {
            assert_eq!(context("u", &[settings]).bytes, plain.bytes, "{settings:?}");
        }
        assert_ne!(
            context("u", &[("a", "bc")]).bytes,
            context("u", &[("ab", "c")]).bytes
        );
    }
}
