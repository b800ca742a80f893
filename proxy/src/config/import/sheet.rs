//! The TOML that comes out: sections in our order, each key on its own line, what was not carried over as comments below.

use super::Note;

/// A value to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// As it is.
    Number(String),
    /// In quotes.
    Text(String),
    /// A list in quotes.
    Texts(Vec<String>),
}

/// Sections and their keys.
#[derive(Default)]
pub(super) struct Sheet {
    tables: Vec<Table>,
}

struct Table {
    heading: String,
    lines: Vec<(String, Value)>,
}

impl Sheet {
    /// Puts a key into `[section]`, made when first named. A later value of the same key wins.
    pub fn put(&mut self, section: &str, key: &str, value: Value) {
        let heading = format!("[{section}]");
        let at = match self.tables.iter().position(|table| table.heading == heading) {
            Some(at) => at,
            None => {
                self.open(heading);
                self.tables.len() - 1
            }
        };
        let lines = &mut self.tables[at].lines;
        match lines.iter_mut().find(|(known, _)| known == key) {
            Some(line) => line.1 = value,
            None => lines.push((key.to_owned(), value)),
        }
    }

    /// Begins another `[[section]]`, or a `[section]` inside the last one.
    pub fn open(&mut self, heading: String) {
        self.tables.push(Table {
            heading,
            lines: Vec::new(),
        });
    }

    /// Adds a key to the section begun last.
    pub fn add(&mut self, key: &str, value: Value) {
        if let Some(table) = self.tables.last_mut() {
            table.lines.push((key.to_owned(), value));
        }
    }

    /// The same, in place of what was added under this key.
    pub fn set(&mut self, key: &str, value: Value) {
        if let Some(table) = self.tables.last_mut() {
            table.lines.retain(|(known, _)| known != key);
        }
        self.add(key, value);
    }

    /// All of it, with the notes as comments.
    pub fn text(&self, notes: &[Note]) -> String {
        let mut text = String::from(
            "# Imported from a PgBouncer configuration. deploy/pgshunt.toml shows every option.\n",
        );
        for table in &self.tables {
            text += &format!("\n{}\n", table.heading);
            for (key, value) in &table.lines {
                text += &format!("{key} = {}\n", written(value));
            }
        }
        if !notes.is_empty() {
            text += "\n# What is different, and what was not carried over:\n";
        }
        for note in notes {
            text += &format!("#   {}: {}\n", one_line(&note.what), one_line(&note.why));
        }
        text
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::Number(number) => number.clone(),
        Value::Text(text) => quoted(text),
        Value::Texts(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            format!("[{}]", texts.join(", "))
        }
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
