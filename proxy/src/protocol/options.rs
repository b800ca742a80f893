//! The startup packet's `options`: command-line switches, of which only settings are known here.
//!
//! PostgreSQL: `pg_split_opts` in `postinit.c`, `process_postgres_switches` in `postgres.c`.

/// A name and its value, as the client wrote them.
pub type Setting = (Vec<u8>, Vec<u8>);

/// The settings in an `options` text, and whether it holds anything else.
pub fn settings(text: &[u8]) -> (Vec<Setting>, bool) {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.as_slice() {
            b"-c" => words.next(),
            // `--` alone ends the switches: whatever follows it is no setting.
            b"--" => None,
            [b'-', b'c' | b'-', rest @ ..] => Some(rest.to_vec()),
            _ => None,
        };
        let Some(setting) = assignment.as_deref().and_then(setting) else {
            return (settings, true);
        };
        settings.push(setting);
    }
    (settings, false)
}

/// `name=value`, with dashes in the name turned to underscores (`ParseLongOption`).
fn setting(text: &[u8]) -> Option<Setting> {
    let at = text.iter().position(|&b| b == b'=')?;
    let name: Vec<u8> = text[..at]
        .iter()
        .map(|&b| if b == b'-' { b'_' } else { b })
        .collect();
    (!name.is_empty()).then(|| (name, text[at + 1..].to_vec()))
}

/// Words between white space; a backslash takes the next byte as it is (`pg_split_opts`).
fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let mut words = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    loop {
        while bytes.next_if(is_space).is_some() {}
        if bytes.peek().is_none() {
            return words;
        }
        let mut word = Vec::new();
        while let Some(byte) = bytes.next_if(|b| !is_space(b)) {
            match byte {
                b'\\' => word.extend(bytes.next()),
                _ => word.push(byte),
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_settings() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], bool);
        let cases: &[Case] = &[
            ("", &[], false),
            ("  \t", &[], false),
            ("-c a=b", &[("a", "b")], false),
            ("-ca=b", &[("a", "b")], false),
            (
                "--search-path=x --work_mem=1",
                &[("search_path", "x"), ("work_mem", "1")],
                false,
            ),
            (r"-c search_path=a,\ b", &[("search_path", "a, b")], false),
            (r"-c x=a\\b", &[("x", r"a\b")], false),
            (r"-c x=a\", &[("x", "a")], false),
            ("-c x=a=b", &[("x", "a=b")], false),
            ("-c x=", &[("x", "")], false),
            ("-c", &[], true),
            ("-c x", &[], true),
            ("-c =x", &[], true),
            ("-c a=1 -e -c b=2", &[("a", "1")], true),
            ("-- a=1", &[], true),
            ("word", &[], true),
        ];
        for (text, expected, unknown) in cases {
            let (found, other) = settings(text.as_bytes());
            let expected: Vec<Setting> = expected
                .iter()
                .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()))
                .collect();
            assert_eq!((found, other), (expected, *unknown), "{text}");
        }
    }
}
