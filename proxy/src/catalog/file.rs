//! The file of tenants with a shard of their own: its form, and how one state of it takes the place of another. Which tenant
//! belongs where is not decided here.
//!
//! ```text
//! epoch = 3
//! entries = 2
//! [tenants]
//! 7 = "s1"
//! 12 = "s0"
//! ```
//!
//! `epoch` grows with every change, so that an old copy is known for what it is. `entries` says how many follow, so that half a
//! file is.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use routing_rules::{Key, KeyType, Shard};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Which state this is.
    pub epoch: u64,
    /// Tenants, and where they are.
    pub tenants: BTreeMap<Key, Shard>,
}

/// What is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The line, from 1; `None`: it is no line's fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

impl Wrong {
    fn whole(what: impl Into<String>) -> Self {
        Wrong {
            line: None,
            what: what.into(),
            hint: None,
        }
    }
}

/// Some 300,000 tenants by uuid.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Mistakes told, at most.
const TOLD_MAX: usize = 20;

const NEW: &str = "a new one holds two lines: epoch = 0, entries = 0";

impl Entries {
    /// Reads a file, for keys of this type and a database with these shards.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, up to a bound.
    pub fn read(path: &Path, key_type: KeyType, shards: &[&str]) -> Result<Entries, Vec<Wrong>> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
        match read {
            Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => Err(vec![Wrong::whole("is larger than 16 MiB")]),
            Ok(_) => Entries::parse(&text, key_type, shards),
            Err(error) => Err(vec![Wrong {
                hint: (error.kind() == io::ErrorKind::NotFound).then_some(NEW),
                ..Wrong::whole(format!("cannot be read: {error}"))
            }]),
        }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// As [`Entries::read`].
    pub fn parse(text: &str, key_type: KeyType, shards: &[&str]) -> Result<Entries, Vec<Wrong>> {
        let mut reading = Reading {
            text,
            key_type,
            shards,
            wrong: Vec::new(),
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors.iter().take(1) {
            let at = error.span().map_or(0, |span| span.start);
            reading.note(at, format!("not TOML: {}", error.message()), None);
        }
        if reading.wrong.is_empty() {
            let entries = reading.entries(document.get_ref());
            if reading.wrong.is_empty() {
                return Ok(entries);
            }
        }
        Err(reading.wrong)
    }
}

/// A file on its way to what it means.
struct Reading<'a> {
    text: &'a str,
    key_type: KeyType,
    shards: &'a [&'a str],
    wrong: Vec<Wrong>,
}

impl Reading<'_> {
    fn entries(&mut self, root: &DeTable<'_>) -> Entries {
        for (key, _) in root {
            if !["epoch", "entries", "tenants"].contains(&&**key.get_ref()) {
                self.note(
                    key.span().start,
                    format!("unknown key \"{}\"", key.get_ref()),
                    None,
                );
            }
        }
        let epoch = self.number(root, "epoch");
        let count = self.number(root, "entries");
        let tenants = match root.get("tenants").map(|value| (value, value.get_ref())) {
            None => BTreeMap::new(),
            Some((_, DeValue::Table(table))) => self.tenants(table),
            Some((value, _)) => {
                self.note(
                    value.span().start,
                    "tenants must be a section".into(),
                    Some("write [tenants]"),
                );
                BTreeMap::new()
            }
        };
        if self.wrong.is_empty() && count != tenants.len() as u64 {
            let what = format!("{count} entries were written, and {} are there", tenants.len());
            self.wrong.push(Wrong {
                hint: Some("a part of it may be missing; whoever changes it by hand counts them"),
                ..Wrong::whole(what)
            });
        }
        Entries { epoch, tenants }
    }

    fn number(&mut self, root: &DeTable<'_>, key: &str) -> u64 {
        let Some(value) = root.get(key) else {
            self.wrong.push(Wrong {
                hint: Some(NEW),
                ..Wrong::whole(format!("{key} is missing"))
            });
            return 0;
        };
        let digits = match value.get_ref() {
            DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        digits.filter(|number| *number < u64::MAX / 2).unwrap_or_else(|| {
            self.note(
                value.span().start,
                format!("{key} must be a number from 0 on"),
                None,
            );
            0
        })
    }

    fn tenants(&mut self, table: &DeTable<'_>) -> BTreeMap<Key, Shard> {
        let mut tenants = BTreeMap::new();
        for (key, value) in table {
            let (tenant, at) = (key.get_ref(), key.span().start);
            let Ok(read) = self.key_type.read_text(tenant) else {
                let what = format!("tenant \"{tenant}\" is no {}", self.key_type.word());
                self.note(at, what, Some("write it as PostgreSQL would"));
                continue;
            };
            match self.shard(value) {
                None => self.note(
                    at,
                    format!("there is no shard {} for tenant {tenant}", shown(value)),
                    None,
                ),
                Some(shard) => {
                    if tenants.insert(read, shard).is_some() {
                        self.note(at, format!("tenant {tenant} has two entries"), None);
                    }
                }
            }
        }
        tenants
    }

    fn shard(&self, value: &Spanned<DeValue<'_>>) -> Option<Shard> {
        let name = value.get_ref().as_str()?;
        self.shards.contains(&name).then(|| name.into())
    }

    fn note(&mut self, at: usize, what: String, hint: Option<&'static str>) {
        match self.wrong.len() {
            few if few < TOLD_MAX => {
                let before = self.text.as_bytes().iter().take(at);
                self.wrong.push(Wrong {
                    line: Some(1 + before.filter(|&&byte| byte == b'\n').count()),
                    what,
                    hint,
                });
            }
            TOLD_MAX => self.wrong.push(Wrong::whole("has more mistakes")),
            _ => {}
        }
    }
}

fn shown(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref().as_str() {
        Some(name) => format!("\"{name}\""),
        None => format!("by {}", value.get_ref().type_str()),
    }
}

impl fmt::Display for Entries {
    /// The text of the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Tenants with a shard of their own. `pgshunt tenant set` and `unset` write this file."
        )?;
        writeln!(f, "epoch = {}\nentries = {}", self.epoch, self.tenants.len())?;
        writeln!(f, "[tenants]")?;
        for (tenant, shard) in &self.tenants {
            writeln!(f, "{} = {}", quoted(&tenant.to_string()), quoted(shard))?;
        }
        Ok(())
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Who holds it is the only one that changes the file. Readers need none: they see one state or the next.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    folder: PathBuf,
    _held: File,
}

/// How long another's change is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Lock {
    /// Waits for whoever is changing the file, ten seconds at most.
    ///
    /// # Errors
    ///
    /// It is not there, its folder can't be locked, or the other one took too long.
    pub fn of(path: &Path) -> io::Result<Lock> {
        // A link is followed: the file it leads to is replaced, not the link.
        let path = path.canonicalize()?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        // The file itself is replaced, so what is locked is its folder.
        let held = File::open(&folder)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match held.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::new(
                        io::ErrorKind::WouldBlock,
                        "another command has been changing it for ten seconds",
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(Lock {
            path,
            folder,
            _held: held,
        })
    }

    /// Puts these entries in the file's place: after a crash at any moment the old ones are there, or these.
    ///
    /// # Errors
    ///
    /// The old ones are still there.
    pub fn replace(&self, entries: &Entries) -> io::Result<()> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        // What a crash has left of an earlier one goes: nobody else writes it.
        let new = self.folder.join(format!(".{name}.new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let before = fs::metadata(&self.path)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(before.permissions().mode() & 0o777)
            .open(&new)?;
        file.set_permissions(before.permissions())?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            // pgshunt may run as another user than whoever changes the file, and must go on reading it.
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.write_all(entries.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARDS: [&str; 2] = ["s0", "s1"];

    fn told(text: &str) -> Vec<String> {
        let wrong = Entries::parse(text, KeyType::Integer, &SHARDS).expect_err("mistakes");
        let line = |wrong: &Wrong| match wrong.line {
            Some(line) => format!("{line}: {}", wrong.what),
            None => wrong.what.clone(),
        };
        wrong.iter().map(line).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let texts = ["a", "", "a b", "\"\\\n\u{1}", "Größe", "x = 1 # [y]"];
        let entries = Entries {
            epoch: 41,
            tenants: texts.map(|text| (Key::Text(text.into()), "s1".into())).into(),
        };
        let read = Entries::parse(&entries.to_string(), KeyType::Text, &SHARDS);
        assert_eq!(read, Ok(entries));
        let none = Entries::parse("epoch = 0\nentries = 0", KeyType::Uuid, &[]);
        assert_eq!(none, Ok(Entries::default()));
    }

    #[test]
    fn a_part_of_a_file_is_no_file() {
        let tenants = (1..=20).map(|number| (Key::Integer(number), "s0".into()));
        let entries = Entries {
            epoch: 3,
            tenants: tenants.collect(),
        };
        let text = entries.to_string();
        for end in 0..text.trim_end().len() {
            let part = &text[..end];
            assert!(Entries::parse(part, KeyType::Integer, &SHARDS).is_err(), "{part}");
        }
    }

    #[test]
    fn mistakes_have_a_line_and_a_reason() {
        assert_eq!(told(""), ["epoch is missing", "entries is missing"]);
        assert_eq!(
            told("epoch = -1\nentries = \"1\"\nmore = 2\n"),
            [
                "3: unknown key \"more\"",
                "1: epoch must be a number from 0 on",
                "2: entries must be a number from 0 on"
            ]
        );
        assert_eq!(
            told("epoch = 1\nentries = 3\n[tenants]\nx = \"s0\"\n7 = \"s9\"\n8 = 1\n"),
            [
                "5: there is no shard \"s9\" for tenant 7",
                "6: there is no shard by integer for tenant 8",
                "4: tenant \"x\" is no integer",
            ]
        );
        assert_eq!(
            told("epoch = 1\nentries = 2\n[tenants]\n7 = \"s0\"\n\" 7\" = \"s1\"\n").len(),
            1
        );
        assert_eq!(
            told("epoch = 1\nentries = 2\n[tenants]\n7 = \"s0\"\n"),
            ["2 entries were written, and 1 are there"]
        );
        assert!(told("epoch = 1\nentries = 1\n[tenants]\n7 = \"s0")[0].starts_with("4: not TOML"));
        let many: String = (0..50).map(|number| format!("k{number} = \"s0\"\n")).collect();
        let many = told(&format!("epoch = 1\nentries = 50\n[tenants]\n{many}"));
        assert_eq!((many.len(), &*many[20]), (21, "has more mistakes"));
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_rights() {
        let folder = std::env::temp_dir().join(format!("pgshunt-catalog-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("app.tenants");
        assert!(Lock::of(&path).is_err(), "there is no file");
        fs::write(&path, "epoch = 0\nentries = 0\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("allowed");
        fs::write(folder.join(".app.tenants.new"), "what a crash left").expect("written");
        std::os::unix::fs::symlink(&path, folder.join("link")).expect("a link");
        let entries = Entries {
            epoch: 1,
            tenants: [(Key::Integer(7), "s1".into())].into(),
        };
        let lock = Lock::of(&folder.join("link")).expect("locked");
        lock.replace(&entries).expect("replaced");
        drop(lock);
        assert_eq!(Entries::read(&path, KeyType::Integer, &SHARDS), Ok(entries));
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let left = fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(left, 2, "the file and the link");
        fs::remove_dir_all(folder).expect("removed");
    }
}
