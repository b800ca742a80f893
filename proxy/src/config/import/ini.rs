//! PgBouncer's two file formats: sections of `key = value`, and connection strings in them; and users with their passwords.

/// One `key = value` of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// `databases`, `users`, `pgbouncer`, `peers`.
    pub section: String,
    /// Lower case, but for names of databases and users.
    pub key: String,
    pub value: String,
    /// From 1.
    pub line: usize,
}

/// Every entry, in order; and what is no entry, with its line.
pub(super) fn entries(text: &str) -> (Vec<Entry>, Vec<(usize, String)>) {
    let (mut entries, mut strange) = (Vec::new(), Vec::new());
    let mut section = String::new();
    for (number, line) in text.lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_ascii_lowercase();
            continue;
        }
        if line.starts_with("%include") {
            strange.push((number, "%include: import that file as well".into()));
            continue;
        }
        let Some((key, value)) = key_and_value(line) else {
            strange.push((number, "not a line PgBouncer reads".into()));
            continue;
        };
        let is_name = matches!(section.as_str(), "databases" | "users" | "peers");
        entries.push(Entry {
            section: section.clone(),
            key: if is_name { key } else { key.to_ascii_lowercase() },
            value,
            line: number,
        });
    }
    (entries, strange)
}

/// Splits at the first `=`; a name may stand in double quotes.
fn key_and_value(line: &str) -> Option<(String, String)> {
    let (key, rest) = match line.strip_prefix('"') {
        Some(quoted) => {
            let (key, rest) = until_quote(quoted, '"')?;
            (key, rest.trim_start().strip_prefix('=')?)
        }
        None => {
            let (key, rest) = line.split_once('=')?;
            (key.trim().to_owned(), rest)
        }
    };
    // Two quotes are how people write nothing.
    let value = match rest.trim() {
        "''" | "\"\"" => "",
        value => value,
    };
    (!key.is_empty()).then(|| (key, value.to_owned()))
}

/// The text before the next quote that is not doubled, and what follows it.
fn until_quote(text: &str, quote: char) -> Option<(String, &str)> {
    let mut found = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            found.push(c);
            continue;
        }
        match chars.peek() {
            Some((_, next)) if *next == quote => {
                found.push(quote);
                chars.next();
            }
            Some(_) | None => return Some((found, &text[at + c.len_utf8()..])),
        }
    }
    None
}

/// `host=10.0.0.1 port=5432 password='it''s'`: names and values; `None` if it is anything else.
pub(super) fn connection(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('\'') {
            Some(quoted) => until_quote(quoted, '\'')?,
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return None;
        }
        pairs.push((key.to_ascii_lowercase(), value));
        rest = after.trim_start();
    }
    Some(pairs)
}

/// `"name" "password"` on each line: names and what stands for their passwords.
pub(super) fn users(text: &str) -> Vec<(String, String)> {
    let mut users = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        let Some(quoted) = line.strip_prefix('"') else {
            continue;
        };
        let user = until_quote(quoted, '"').and_then(|(name, rest)| {
            let (password, _) = until_quote(rest.trim_start().strip_prefix('"')?, '"')?;
            Some((name, password))
        });
        users.extend(user);
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_and_values() {
        let text = "; comment\n[databases]\napp = host=h\n\"a b\"=port=1\n* = \n[PgBouncer]\nListen_Port = 6432\nnonsense\n%include x.ini\n";
        let (entries, strange) = entries(text);
        let shown: Vec<_> = entries
            .iter()
            .map(|e| format!("{}/{}/{}/{}", e.section, e.key, e.value, e.line))
            .collect();
        assert_eq!(
            shown,
            [
                "databases/app/host=h/3",
                "databases/a b/port=1/4",
                "databases/*//5",
                "pgbouncer/listen_port/6432/7"
            ]
        );
        assert_eq!(strange.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [8, 9]);
    }

    #[test]
    fn connection_strings() {
        let pairs = connection("host=a,b  port = 6000 password='it''s = here' user=x").expect("good");
        let shown: Vec<_> = pairs.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        assert_eq!(shown, ["host:a,b", "port:6000", "password:it's = here", "user:x"]);
        assert_eq!(connection(""), Some(Vec::new()));
        for bad in ["host", "a b=c", "x='open", "=x"] {
            assert_eq!(connection(bad), None, "{bad}");
        }
    }

    #[test]
    fn user_lists() {
        let text = "\"ann\" \"md5abc\"\n;x\n  \"b\"\"b\" \"p\"\"w\" more\n\"half\nplain text\n";
        let found = users(text);
        assert_eq!(
            found,
            [("ann".into(), "md5abc".into()), ("b\"b".into(), "p\"w".into())]
        );
    }
}
