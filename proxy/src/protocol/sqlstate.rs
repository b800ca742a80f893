//! The SQLSTATEs pgshunt itself answers with (PostgreSQL, appendix A).

use std::fmt;

/// Five characters, class and condition.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// The five characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* pub const $name: SqlState = SqlState(*$code);)*
    };
}

states! {
    /// All is well: notices carry it.
    SUCCESSFUL_COMPLETION = b"00000";
    /// warning
    WARNING = b"01000";
    /// connection_exception
    CONNECTION_EXCEPTION = b"08000";
    /// sqlclient_unable_to_establish_sqlconnection
    CANNOT_CONNECT = b"08001";
    /// sqlserver_rejected_establishment_of_sqlconnection
    REJECTED_CONNECTION = b"08004";
    /// connection_failure
    CONNECTION_FAILURE = b"08006";
    /// protocol_violation
    PROTOCOL_VIOLATION = b"08P01";
    /// feature_not_supported
    FEATURE_NOT_SUPPORTED = b"0A000";
    /// active_sql_transaction
    ACTIVE_TRANSACTION = b"25001";
    /// no_active_sql_transaction
    NO_ACTIVE_TRANSACTION = b"25P01";
    /// in_failed_sql_transaction
    IN_FAILED_TRANSACTION = b"25P02";
    /// idle_in_transaction_session_timeout
    IDLE_IN_TRANSACTION = b"25P03";
    /// invalid_sql_statement_name
    NO_SUCH_STATEMENT = b"26000";
    /// invalid_cursor_name
    NO_SUCH_PORTAL = b"34000";
    /// duplicate_cursor
    DUPLICATE_CURSOR = b"42P03";
    /// duplicate_prepared_statement
    DUPLICATE_STATEMENT = b"42P05";
    /// character_not_in_repertoire
    BAD_ENCODING = b"22021";
    /// invalid_authorization_specification
    INVALID_AUTHORIZATION = b"28000";
    /// invalid_password
    INVALID_PASSWORD = b"28P01";
    /// invalid_catalog_name
    NO_SUCH_DATABASE = b"3D000";
    /// syntax_error
    SYNTAX_ERROR = b"42601";
    /// insufficient_privilege
    INSUFFICIENT_PRIVILEGE = b"42501";
    /// undefined_table
    UNDEFINED_TABLE = b"42P01";
    /// undefined_object
    UNDEFINED_OBJECT = b"42704";
    /// invalid_parameter_value
    INVALID_PARAMETER = b"22023";
    /// out_of_memory
    OUT_OF_MEMORY = b"53200";
    /// too_many_connections
    TOO_MANY_CONNECTIONS = b"53300";
    /// configuration_limit_exceeded
    LIMIT_EXCEEDED = b"53400";
    /// program_limit_exceeded
    PROGRAM_LIMIT = b"54000";
    /// object_not_in_prerequisite_state
    NOT_IN_STATE = b"55000";
    /// query_canceled
    QUERY_CANCELED = b"57014";
    /// admin_shutdown
    ADMIN_SHUTDOWN = b"57P01";
    /// cannot_connect_now
    CANNOT_CONNECT_NOW = b"57P03";
    /// idle_session_timeout
    IDLE_SESSION = b"57P05";
    /// config_file_error
    CONFIG_FILE_ERROR = b"F0000";
    /// internal_error
    INTERNAL = b"XX000";
}
