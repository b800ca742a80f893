//! What a word means: the keywords the reader looks for, and what a call of it as a function may do.
//!
//! `builtins.txt` lists the functions of `pg_catalog` that leave no trace in the session. It was drawn from the
//! `pg_proc` of PostgreSQL 15 (plus what 16 to 18 added), without what sets state (`set_config`, `setseed`, session
//! advisory locks, replication origins, temporary slots, backups), what runs SQL given as text (`query_to_xml`,
//! `ts_stat`, …), and what nobody calls by name (support functions of operators, types and indexes).

use std::sync::LazyLock;

/// Keywords with a part in the reader's decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// A word without a part here.
    No,
    Abort,
    Analyze,
    As,
    Atomic,
    Begin,
    By,
    Case,
    Character,
    Commit,
    Conflict,
    Copy,
    Create,
    Deallocate,
    Declare,
    Delete,
    Distinct,
    Do,
    End,
    Explain,
    Fetch,
    FirstNext,
    For,
    ForceNull,
    GroupOrder,
    Grouping,
    Hold,
    Insert,
    Into,
    Key,
    Load,
    Merge,
    /// `NO`, as in FOR NO KEY UPDATE.
    NoKey,
    On,
    Operator,
    OrReplace,
    Ordinality,
    Reset,
    Rollback,
    Routine,
    Select,
    Set,
    Sets,
    Share,
    Show,
    Start,
    StdInOut,
    Table,
    Then,
    Ties,
    Time,
    To,
    /// Begins a statement that leaves no trace and needs no closer look: SAVEPOINT, LOCK, CHECKPOINT, …
    Trackless,
    Uescape,
    Update,
    Vacuum,
    Values,
    Varying,
    Verbose,
    With,
    Zone,
}

/// What `word(` may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Anything.
    Unknown,
    /// Nothing that outlives the transaction.
    Harmless,
    /// No function has this name: the parenthesis belongs to the syntax.
    Syntax,
    /// The same, and nothing else has this name either.
    Reserved,
    /// Sets a setting.
    SetConfig,
    /// Seeds `random()`.
    SetSeed,
    /// Reads what the session did to a sequence.
    SequenceState,
    /// Reads the process id of the server.
    BackendPid,
}

impl Call {
    /// Must the session hear of it, whatever stands around it?
    pub fn is_telling(self) -> bool {
        matches!(
            self,
            Call::SetConfig | Call::SetSeed | Call::SequenceState | Call::BackendPid
        )
    }
}

/// A word looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    pub keyword: Keyword,
    pub call: Call,
    /// A builtin with this name writes, runs SQL given as text, or answers for one server only.
    pub needs_primary: bool,
}

/// A word that is in no list.
pub const UNKNOWN: Meaning = Meaning {
    keyword: Keyword::No,
    call: Call::Unknown,
    needs_primary: false,
};

/// All words known: a hash table with open addressing, half empty.
pub struct Words {
    entries: Vec<(&'static [u8], Meaning)>,
    /// Place in `entries` plus one; 0 is free.
    slots: Vec<u16>,
}

/// Built once, on first use.
pub static WORDS: LazyLock<Words> = LazyLock::new(Words::new);

impl Words {
    fn new() -> Words {
        let mut words = Words {
            entries: Vec::new(),
            slots: vec![0; SLOTS],
        };
        for &(name, keyword) in KEYWORDS {
            words.entry(name.as_bytes()).keyword = keyword;
        }
        for name in include_str!("builtins.txt").split_ascii_whitespace() {
            words.entry(name.as_bytes()).call = Call::Harmless;
        }
        for (names, call) in [(SYNTAX, Call::Syntax), (RESERVED, Call::Reserved)] {
            for name in names.split_ascii_whitespace() {
                words.entry(name.as_bytes()).call = call;
            }
        }
        for &(name, call) in TELLING {
            words.entry(name.as_bytes()).call = call;
        }
        for name in ON_PRIMARY.split_ascii_whitespace() {
            words.entry(name.as_bytes()).needs_primary = true;
        }
        for (name, meaning) in &mut words.entries {
            let is_own = name.starts_with(b"pg_") && !is_anywhere(name);
            meaning.needs_primary |= is_own || meaning.call.is_telling();
        }
        words
    }

    fn entry(&mut self, name: &'static [u8]) -> &mut Meaning {
        let slot = self.slot(name, |a, b| a == b);
        if self.slots[slot] == 0 {
            self.entries.push((name, UNKNOWN));
            self.slots[slot] = self.entries.len() as u16;
        }
        &mut self.entries[usize::from(self.slots[slot]) - 1].1
    }

    /// Where a name is, or would be.
    fn slot(&self, name: &[u8], same: fn(&[u8], &[u8]) -> bool) -> usize {
        let mut slot = hash(name) & (SLOTS - 1);
        loop {
            match self.slots[slot] {
                0 => return slot,
                at if same(self.entries[usize::from(at) - 1].0, name) => return slot,
                _ => slot = (slot + 1) & (SLOTS - 1),
            }
        }
    }

    fn at(&self, slot: usize) -> Meaning {
        match self.slots[slot] {
            0 => UNKNOWN,
            at => self.entries[usize::from(at) - 1].1,
        }
    }

    /// The meaning of a quoted name: only lower case is known.
    pub fn exact(&self, name: &[u8]) -> Meaning {
        self.at(self.slot(name, |a, b| a == b))
    }

    /// The meaning of a word in any case.
    pub fn folded(&self, word: &[u8]) -> Meaning {
        if word.len() > NAME_MAX {
            return UNKNOWN;
        }
        self.at(self.slot(word, <[u8]>::eq_ignore_ascii_case))
    }
}

/// Is a name that begins with `pg_` that of a function which answers the same on every server?
pub fn is_anywhere(name: &[u8]) -> bool {
    name.strip_prefix(b"pg_")
        .is_some_and(|rest| ANYWHERE.iter().any(|known| known.as_bytes() == rest))
}

/// FNV-1a of the name in lower case, its high half folded in.
fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in name {
        hash = (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193);
    }
    (hash ^ (hash >> 15)) as usize
}

const SLOTS: usize = 4096;

/// The longest word worth a look: the longest builtin has 43 bytes.
const NAME_MAX: usize = 48;

const KEYWORDS: &[(&str, Keyword)] = &[
    ("abort", Keyword::Abort),
    ("analyse", Keyword::Analyze),
    ("analyze", Keyword::Analyze),
    ("as", Keyword::As),
    ("atomic", Keyword::Atomic),
    ("begin", Keyword::Begin),
    ("bit", Keyword::Character),
    ("by", Keyword::By),
    ("case", Keyword::Case),
    ("char", Keyword::Character),
    ("character", Keyword::Character),
    ("checkpoint", Keyword::Trackless),
    ("close", Keyword::Trackless),
    ("commit", Keyword::Commit),
    ("conflict", Keyword::Conflict),
    ("copy", Keyword::Copy),
    ("create", Keyword::Create),
    ("deallocate", Keyword::Deallocate),
    ("declare", Keyword::Declare),
    ("delete", Keyword::Delete),
    ("distinct", Keyword::Distinct),
    ("do", Keyword::Do),
    ("end", Keyword::End),
    ("explain", Keyword::Explain),
    ("fetch", Keyword::Fetch),
    ("first", Keyword::FirstNext),
    ("for", Keyword::For),
    ("force_not_null", Keyword::ForceNull),
    ("force_null", Keyword::ForceNull),
    ("force_quote", Keyword::ForceNull),
    ("function", Keyword::Routine),
    ("group", Keyword::GroupOrder),
    ("grouping", Keyword::Grouping),
    ("hold", Keyword::Hold),
    ("insert", Keyword::Insert),
    ("into", Keyword::Into),
    ("key", Keyword::Key),
    ("load", Keyword::Load),
    ("lock", Keyword::Trackless),
    ("merge", Keyword::Merge),
    ("move", Keyword::Trackless),
    ("nchar", Keyword::Character),
    ("next", Keyword::FirstNext),
    ("no", Keyword::NoKey),
    ("notify", Keyword::Trackless),
    ("on", Keyword::On),
    ("operator", Keyword::Operator),
    ("or", Keyword::OrReplace),
    ("order", Keyword::GroupOrder),
    ("ordinality", Keyword::Ordinality),
    ("partition", Keyword::GroupOrder),
    ("procedure", Keyword::Routine),
    ("release", Keyword::Trackless),
    ("replace", Keyword::OrReplace),
    ("reset", Keyword::Reset),
    ("rollback", Keyword::Rollback),
    ("savepoint", Keyword::Trackless),
    ("select", Keyword::Select),
    ("set", Keyword::Set),
    ("sets", Keyword::Sets),
    ("share", Keyword::Share),
    ("show", Keyword::Show),
    ("start", Keyword::Start),
    ("stdin", Keyword::StdInOut),
    ("stdout", Keyword::StdInOut),
    ("table", Keyword::Table),
    ("then", Keyword::Then),
    ("ties", Keyword::Ties),
    ("time", Keyword::Time),
    ("to", Keyword::To),
    ("truncate", Keyword::Trackless),
    ("uescape", Keyword::Uescape),
    ("update", Keyword::Update),
    ("vacuum", Keyword::Vacuum),
    ("values", Keyword::Values),
    ("varying", Keyword::Varying),
    ("verbose", Keyword::Verbose),
    ("with", Keyword::With),
    ("zone", Keyword::Zone),
];

/// Functions the session must hear of.
const TELLING: &[(&str, Call)] = &[
    ("set_config", Call::SetConfig),
    ("setseed", Call::SetSeed),
    ("currval", Call::SequenceState),
    ("lastval", Call::SequenceState),
    ("pg_backend_pid", Call::BackendPid),
];

/// What begins with `pg_` and is the same on every server.
const ANYWHERE: &[&str] = &[
    "char_to_encoding",
    "client_encoding",
    "collation_for",
    "column_compression",
    "column_size",
    "describe_object",
    "encoding_max_length",
    "encoding_to_char",
    "get_constraintdef",
    "get_expr",
    "get_function_arguments",
    "get_function_identity_arguments",
    "get_function_result",
    "get_functiondef",
    "get_indexdef",
    "get_keywords",
    "get_partkeydef",
    "get_ruledef",
    "get_serial_sequence",
    "get_triggerdef",
    "get_userbyid",
    "get_viewdef",
    "size_bytes",
    "size_pretty",
    "sleep",
    "sleep_for",
    "sleep_until",
    "table_is_visible",
    "timezone_abbrevs",
    "timezone_names",
    "typeof",
    "input_error_info",
    "input_is_valid",
    "basetype",
];

/// Builtins that write, need a transaction id, run SQL or read relations given as text, or answer for one server. (So
/// does what begins with `pg_`, but for `ANYWHERE`, and `TELLING`.) With `pg_temp` first in its search path,
/// `current_schema` makes a schema.
const ON_PRIMARY: &str = "
brin_desummarize_range brin_summarize_new_values brin_summarize_range current_query current_schema current_schemas currtid2 cursor_to_xml
cursor_to_xmlschema database_to_xml database_to_xml_and_xmlschema database_to_xmlschema gin_clean_pending_list
inet_server_addr inet_server_port lo_close lo_creat lo_create lo_export lo_from_bytea lo_get lo_import lo_lseek
lo_lseek64 lo_open lo_put lo_tell lo_tell64 lo_truncate lo_truncate64 lo_unlink loread lowrite nextval query_to_xml
query_to_xml_and_xmlschema query_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema setval
table_to_xml table_to_xml_and_xmlschema table_to_xmlschema ts_rewrite ts_stat txid_current txid_current_if_assigned
txid_current_snapshot txid_status
";

/// PostgreSQL's reserved words.
const RESERVED: &str = "
all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
current_catalog current_date current_role current_time current_timestamp current_user default deferrable desc distinct
do else end except false fetch for foreign from grant group having in initially intersect into lateral leading limit
localtime localtimestamp not null offset on only or order placing primary references returning select session_user some
symmetric system_user table then to trailing true union unique user using variadic when where window with
";

/// Words PostgreSQL keeps for types and for functions with a grammar of their own (no function can have these names
/// without quotes); and in the last line some that could be names of functions but hardly are, and stand before a
/// parenthesis as syntax all the time.
const SYNTAX: &str = "
between bigint bit boolean char character coalesce dec decimal exists extract float greatest grouping inout int integer
interval least merge_action national nchar none normalize nullif numeric out overlay position precision real row setof
smallint substring time timestamp treat trim values varchar
json json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize json_table
json_value xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize
xmltable
cross cube full ilike inner is join like natural operator outer overlaps rollup similar tablesample verbose
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_word_is_found_in_any_case() {
        for name in include_str!("builtins.txt").split_ascii_whitespace() {
            assert!(name.len() <= NAME_MAX, "{name}");
            assert_ne!(
                WORDS.folded(name.to_ascii_uppercase().as_bytes()).call,
                Call::Unknown,
                "{name}"
            );
        }
        for (name, keyword) in KEYWORDS {
            assert_eq!(WORDS.folded(name.as_bytes()).keyword, *keyword, "{name}");
        }
        assert_eq!(WORDS.folded(&[b'a'; 100]), UNKNOWN);
        assert_eq!(WORDS.folded(b""), UNKNOWN);
        assert_eq!(WORDS.exact(b"LOWER"), UNKNOWN);
    }

    #[test]
    fn what_changes_a_session_is_not_in_the_list() {
        let listed: Vec<&str> = include_str!("builtins.txt").split_ascii_whitespace().collect();
        assert!(listed.is_sorted());
        for name in [
            "set_config",
            "setseed",
            "pg_advisory_lock",
            "pg_advisory_lock_shared",
            "pg_advisory_unlock",
            "pg_advisory_unlock_all",
            "pg_advisory_unlock_shared",
            "pg_try_advisory_lock",
            "pg_try_advisory_lock_shared",
            "query_to_xml",
            "query_to_xml_and_xmlschema",
            "query_to_xmlschema",
            "cursor_to_xml",
            "table_to_xml",
            "schema_to_xml",
            "database_to_xml",
            "ts_stat",
            "ts_rewrite",
            "pg_backend_pid",
            "currval",
            "lastval",
            "pg_reload_conf",
            "pg_replication_origin_session_setup",
            "pg_create_logical_replication_slot",
            "pg_create_physical_replication_slot",
            "pg_backup_start",
            "pg_backup_stop",
            "pg_start_backup",
            "dblink",
            "pg_extension_config_dump",
        ] {
            assert!(!listed.contains(&name), "{name}");
        }
        assert!(WORDS.slots.iter().filter(|slot| **slot != 0).count() < SLOTS / 2);
    }
}
