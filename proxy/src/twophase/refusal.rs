//! Why a transaction that spans shards was not committed, as its client is told.

use crate::fault::Fault;
use crate::protocol::server_error::ServerError;
use crate::protocol::sqlstate::{self, SqlState};
use crate::twophase::machine::Ask;

/// Why one participant did not do its part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The shard.
    pub shard: String,
    /// What it was asked for.
    pub ask: Ask,
    /// What it said; `None`: its connection was lost.
    pub error: Option<ServerError>,
}

const UNIQUE_VIOLATION: SqlState = SqlState(*b"23505");
const SERIALIZATION_FAILURE: SqlState = SqlState(*b"40001");
const NO_SUCH_SCHEMA: SqlState = SqlState(*b"3F000");
const NO_SUCH_FUNCTION: SqlState = SqlState(*b"42883");
const OUTCOME_UNKNOWN: SqlState = SqlState(*b"08007");

/// What to do where PREPARE TRANSACTION is turned off.
pub const HINT_PREPARED: &str =
    "Set max_prepared_transactions on every shard to at least max_connections, and restart it.";

impl Refusal {
    /// The server's words, and what they mean for the transaction.
    pub fn fault(&self, shards: &[&str]) -> Fault {
        let all = shards.join(", ");
        let detail = format!(
            "The transaction wrote on several shards ({all}) and is rolled back on all of them, because shard {} {}.",
            self.shard,
            match (&self.error, self.ask) {
                (None, _) => "did not answer",
                (Some(_), Ask::Prepare) => "could not prepare it",
                (Some(_), _) => "could not commit it",
            }
        );
        let Some(error) = &self.error else {
            let message = format!("connection to shard {} was lost during COMMIT", self.shard);
            return Fault::error(sqlstate::CONNECTION_FAILURE, message).detail(detail);
        };
        let code = error.code.unwrap_or(sqlstate::INTERNAL);
        let is_ours = error.message.contains("pgshunt.");
        if self.ask == Ask::Decide && code == UNIQUE_VIOLATION && error.message.contains("decision_pkey") {
            return Fault::error(
                SERIALIZATION_FAILURE,
                "the transaction took so long to commit that it was taken for abandoned",
            )
            .detail(detail)
            .hint("Run the transaction again.");
        }
        let fault = Fault::error(code, error.message.clone()).detail(match &error.detail {
            Some(own) => format!("{own} {detail}"),
            None => detail,
        });
        let hint = match (self.ask, code) {
            (Ask::Decide, NO_SUCH_SCHEMA | NO_SUCH_FUNCTION | sqlstate::INSUFFICIENT_PRIVILEGE)
                if is_ours || code == NO_SUCH_SCHEMA =>
            {
                Some("\"pgshunt setup\" with each shard as --to makes what is missing.")
            }
            (Ask::Prepare, sqlstate::NOT_IN_STATE | sqlstate::OUT_OF_MEMORY) => Some(HINT_PREPARED),
            (Ask::Prepare, sqlstate::FEATURE_NOT_SUPPORTED) => {
                Some("Do this in a transaction that writes on one shard only.")
            }
            _ => None,
        };
        match hint.or(error.hint.as_deref()) {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }

    /// When nobody knows how it ended.
    pub fn unknown(shard: &str) -> Fault {
        let message = format!(
            "the connection to shard {shard} was lost during COMMIT: the transaction may have been committed"
        );
        Fault::error(OUTCOME_UNKNOWN, message)
            .detail("It is committed on all its shards or on none; which, is known once that shard answers again.")
            .hint("SHOW TRANSACTIONS on the console shows it while it is undecided.")
    }

    /// Before anything is lost: the second shard that would be written to, where some shard has prepared transactions turned off.
    pub fn off(shard: &str) -> Fault {
        Fault::error(
            sqlstate::NOT_IN_STATE,
            format!("a transaction can't write on several shards: prepared transactions are disabled on shard {shard}"),
        )
        .hint(HINT_PREPARED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(ask: Ask, code: &[u8; 5], message: &str) -> Refusal {
        Refusal {
            shard: "s1".into(),
            ask,
            error: Some(ServerError {
                code: Some(SqlState(*code)),
                message: message.into(),
                ..ServerError::default()
            }),
        }
    }

    #[test]
    fn a_client_hears_the_servers_words_and_what_to_do() {
        let off = refusal(Ask::Prepare, b"55000", "prepared transactions are disabled").fault(&["s0", "s1"]);
        assert_eq!(off.to_string(), "ERROR 55000: prepared transactions are disabled");
        assert_eq!(off.hint.as_deref(), Some(HINT_PREPARED));
        assert!(off.detail.expect("a detail").contains("(s0, s1)"));
        let temp = "cannot PREPARE a transaction that has operated on temporary objects";
        let temp = refusal(Ask::Prepare, b"0A000", temp).fault(&["s0", "s1"]);
        assert!(temp.hint.expect("a hint").contains("one shard only"));
        let late = r#"duplicate key value violates unique constraint "decision_pkey""#;
        let late = refusal(Ask::Decide, b"23505", late).fault(&["s0", "s1"]);
        assert_eq!(late.code, SERIALIZATION_FAILURE);
        let own = refusal(
            Ask::Decide,
            b"23505",
            "duplicate key value violates unique constraint \"t_pkey\"",
        );
        assert_eq!(own.fault(&["s0", "s1"]).code, UNIQUE_VIOLATION);
        let missing = refusal(
            Ask::Decide,
            b"42883",
            "function pgshunt.decide(unknown, text[]) does not exist",
        );
        assert!(missing.fault(&["s0"]).hint.expect("a hint").contains("setup"));
    }
}
