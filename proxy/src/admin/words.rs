//! Cuts what is typed at the console into statements of words. Knows quotes and comments, not commands.

use std::iter::Peekable;
use std::str::Chars;

/// A piece of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A name or a keyword, as it was written.
    Plain(String),
    /// `"…"` or `'…'`, quotes undone.
    Quoted(String),
    /// Any other character.
    Mark(char),
}

impl Word {
    /// Is it this keyword, in whatever case?
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self, Word::Plain(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// The text of a name, keyword or quoted text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Word::Plain(text) | Word::Quoted(text) => Some(text),
            Word::Mark(_) => None,
        }
    }
}

/// A quote or a comment without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unterminated;

/// The statements of a text, empty ones left out.
///
/// # Errors
/// A quote or a comment has no end.
pub fn statements(text: &str) -> Result<Vec<Vec<Word>>, Unterminated> {
    let mut statements = vec![Vec::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let word = match c {
            ';' => {
                statements.push(Vec::new());
                continue;
            }
            '-' if chars.next_if_eq(&'-').is_some() => {
                let _ = chars.find(|&c| c == '\n' || c == '\r');
                continue;
            }
            '/' if chars.next_if_eq(&'*').is_some() => {
                skip_comment(&mut chars)?;
                continue;
            }
            c if c.is_whitespace() => continue,
            '\'' | '"' => Word::Quoted(quoted(&mut chars, c)?),
            c if is_plain(c) => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|&c| is_plain(c)) {
                    word.push(c);
                }
                Word::Plain(word)
            }
            c => Word::Mark(c),
        };
        if let Some(statement) = statements.last_mut() {
            statement.push(word);
        }
    }
    statements.retain(|statement| !statement.is_empty());
    Ok(statements)
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '.')
}

/// Comments nest, as in SQL.
fn skip_comment(chars: &mut Peekable<Chars>) -> Result<(), Unterminated> {
    let mut depth = 1;
    while depth > 0 {
        match chars.next().ok_or(Unterminated)? {
            '/' if chars.next_if_eq(&'*').is_some() => depth += 1,
            '*' if chars.next_if_eq(&'/').is_some() => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

fn quoted(chars: &mut Peekable<Chars>, quote: char) -> Result<String, Unterminated> {
    let mut text = String::new();
    loop {
        let c = chars.next().ok_or(Unterminated)?;
        // A doubled quote stands for itself.
        if c == quote && chars.next_if_eq(&quote).is_none() {
            return Ok(text);
        }
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Vec<Vec<String>> {
        let statements = statements(text).expect("whole");
        let word = |word: Word| match word {
            Word::Plain(text) => text,
            Word::Quoted(text) => format!("<{text}>"),
            Word::Mark(c) => c.to_string(),
        };
        statements
            .into_iter()
            .map(|words| words.into_iter().map(word).collect())
            .collect()
    }

    #[test]
    fn statements_and_words() {
        assert_eq!(plain("show pools"), [["show", "pools"]]);
        assert_eq!(
            plain(" ;; SHOW\tpools ;\n-- x\n;show lists;"),
            [["SHOW", "pools"], ["show", "lists"]]
        );
        assert_eq!(plain("/* a /* b */ ; */ show /**/ pools"), [["show", "pools"]]);
        assert_eq!(plain("PAUSE \"my \"\"db\"\"\""), [["PAUSE", "<my \"db\">"]]);
        assert_eq!(plain("set x='it''s; 1'"), [["set", "x", "=", "<it's; 1>"]]);
        assert!(plain(" ; -- nothing").is_empty());
    }

    #[test]
    fn what_has_no_end() {
        for text in ["'abc", "\"abc", "/* abc", "/* /* */", "'a''"] {
            assert_eq!(statements(text), Err(Unterminated), "{text}");
        }
    }
}
