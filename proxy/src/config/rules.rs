//! The file of rules a database names: what is to be done with its statements. Here `[split]`, where reads go; `[sharding]`
//! and `[cache]` have files of their own.

use std::io::Read;
use std::path::Path;

use routing_rules::{Consistency, Reads, Rules, Sharding};
use toml::de::DeTable;

use super::keys;
use super::mistake::{Findings, Mistake, Wrong};
use super::raw::Section;
use super::sharding::sharding;
use crate::snapshot::Warm;

/// A file of rules beyond this is something else by mistake.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What a file of rules says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    pub split: Rules,
    pub sharding: Option<Sharding>,
    /// `None`: no class is named.
    pub cache: Option<routing_rules::cache::Rules>,
    /// For whom its answers are fetched in advance.
    pub warm: Vec<Warm>,
}

/// Reads and checks a file of rules, of a database with these shards.
pub(super) fn load(file: &Path, shards: &[&str]) -> Result<Said, Vec<Mistake>> {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|open| open.take(FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 == FILE_BYTES_MAX => {
            Err(vec![unreadable(file, "is larger than 4 MiB".into())])
        }
        Ok(_) => parse(file, &text, shards),
        Err(error) => Err(vec![unreadable(file, format!("cannot be read: {error}"))]),
    }
}

fn unreadable(file: &Path, what: String) -> Mistake {
    Mistake {
        file: file.to_path_buf(),
        line: None,
        what,
        hint: None,
    }
}

/// Checks the text of a file of rules.
fn parse(file: &Path, text: &str, shards: &[&str]) -> Result<Said, Vec<Mistake>> {
    let findings = Findings::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        findings.at(at, Wrong::new(format!("not TOML: {}", error.message())));
    }
    if !errors.is_empty() {
        return Err(findings.into_mistakes());
    }
    let root = Section::open(&keys::RULES, &document, &findings);
    let split = root.section("split", &keys::SPLIT);
    let cache = root.section("cache", &keys::CACHE);
    let said = Said {
        split: split.map_or_else(Rules::default, |found| self::split(&found)),
        sharding: sharding(&root, shards),
        warm: cache.as_ref().map_or(Vec::new(), super::cache::warm),
        cache: cache.and_then(|found| super::cache::cache(&found)),
    };
    match findings.into_mistakes() {
        none if none.is_empty() => Ok(said),
        mistakes => Err(mistakes),
    }
}

fn split(section: &Section) -> Rules {
    let default = Rules::default();
    let mut functions = Vec::new();
    for (key, is_safe) in [("safe_functions", true), ("volatile_functions", false)] {
        let names = section.texts(key).unwrap_or_default();
        functions.extend(names.into_iter().map(|name| (name.value.to_owned(), is_safe)));
    }
    Rules {
        reads: section
            .word(
                "reads",
                &[("replica", Reads::Replica), ("primary", Reads::Primary)],
            )
            .unwrap_or(default.reads),
        consistency: consistency(section).unwrap_or(default.consistency),
        max_staleness: section.time("max_staleness").unwrap_or(default.max_staleness),
        catchup_wait: section.time("catchup_wait").unwrap_or(default.catchup_wait),
        functions,
    }
}

fn consistency(section: &Section) -> Option<Consistency> {
    let written = section.text("consistency")?;
    let meant = Consistency::parse(written.value);
    if meant.is_none() {
        let wrong = Wrong::new(format!("is no consistency: \"{}\"", written.value));
        let hint = "write \"session\", \"eventual\", \"bounded:500ms\" or \"strong\"";
        section.wrong_value("consistency", written.at, wrong.hint(hint));
    }
    meant
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn split_is_read_whole() {
        let text = "[split]\nreads = \"primary\"\nconsistency = \"bounded:2s\"\nmax_staleness = \"30s\"\n\
                    catchup_wait = \"5ms\"\nsafe_functions = [\"f\"]\nvolatile_functions = [\"g\"]\n";
        let rules = parse(Path::new("r.toml"), text, &["s0"]).expect("rules");
        let expected = Rules {
            reads: Reads::Primary,
            consistency: Consistency::Bounded(Duration::from_secs(2)),
            max_staleness: Duration::from_secs(30),
            catchup_wait: Duration::from_millis(5),
            functions: vec![("f".into(), true), ("g".into(), false)],
        };
        assert_eq!((rules.split, rules.sharding), (expected, None));
        let nothing = parse(Path::new("r.toml"), "", &["s0"]).expect("rules");
        assert_eq!(nothing, Said::default());
    }

    #[test]
    fn mistakes_name_their_file_and_line() {
        let text = "[split]\nreeds = \"replica\"\nconsistency = \"sometimes\"\n";
        let shown: Vec<String> = parse(Path::new("r.toml"), text, &["s0"])
            .expect_err("mistakes")
            .iter()
            .map(Mistake::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "r.toml:2: unknown key \"reeds\" in [split]\n  hint: did you mean \"reads\"?",
                "r.toml:3: consistency in [split] is no consistency: \"sometimes\"\n  hint: write \"session\", \
                 \"eventual\", \"bounded:500ms\" or \"strong\"",
            ]
        );
        assert!(parse(Path::new("r.toml"), "[sp", &["s0"]).is_err());
    }

    #[test]
    fn mistakes_in_sharding_too() {
        let shown = |text: &str| -> Vec<String> {
            let mistakes = parse(Path::new("r.toml"), text, &["s0", "s1"]).expect_err("mistakes");
            mistakes.iter().map(Mistake::to_string).collect()
        };
        let text = "[sharding]\ncolumn = \"tenant_id\"\ntype = \"numeric\"\n[sharding.home]\nlog = \"s9\"\n\
                    [sharding.list]\ns1 = [\"x\"]\n";
        assert_eq!(
            shown(text),
            [
                "r.toml:3: type in [sharding] is \"numeric\", whose equal values look different\n  hint: uuid, bigint, \
                 integer, smallint, text, varchar or char",
                "r.toml:5: home.log in [sharding] there is no shard \"s9\"\n  hint: the database has s0, s1",
            ]
        );
        assert_eq!(
            shown("[sharding]\ncolum = \"tenant_id\"\n"),
            ["r.toml:2: unknown key \"colum\" in [sharding]\n  hint: did you mean \"column\"?"]
        );
        let wrong = shown("[sharding]\ncolumn = \"a\"\ntype = \"uuid\"\nmodulus = \"four\"\n");
        assert!(
            wrong[0].starts_with("r.toml:4: a value in [sharding] is wrong"),
            "{wrong:?}"
        );
    }

    /// The rules that come with pgshunt, and what is written of them.
    const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../routing-rules");

    fn right(name: &Path, text: &str) -> Said {
        parse(name, text, &["s0", "s1", "s2", "s3"]).unwrap_or_else(|mistakes| {
            let shown: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
            panic!("{}", shown.join("\n"))
        })
    }

    #[test]
    fn the_rules_that_are_shipped_have_no_mistakes() {
        let files = std::fs::read_dir(Path::new(SHIPPED).join("rules")).expect("a folder");
        let mut names = Vec::new();
        for file in files {
            let file = file.expect("a file").path();
            let text = std::fs::read_to_string(&file).expect("a text");
            let rules = right(&file, &text);
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            if name == "app.toml" {
                assert_eq!(rules, Said::default(), "it shows the defaults");
                let cache = keys::CACHE
                    .known
                    .iter()
                    .filter(|key| !["class", "warm"].contains(*key));
                for key in keys::SPLIT.known.iter().chain(cache) {
                    let shown = |line: &str| line.starts_with(&format!("{key} = "));
                    assert!(text.lines().any(shown), "app.toml does not show {key}");
                }
            }
            if name == "bmos.toml" {
                assert!(rules.sharding.is_some(), "it shows a sharded database");
                for key in keys::SHARDING.known {
                    let forms = [
                        format!("{key} = "),
                        format!("#{key} = "),
                        format!("[sharding.{key}]"),
                    ];
                    let forms = [
                        forms,
                        [
                            format!("#[sharding.{key}]"),
                            format!("#[[sharding.{key}]]"),
                            String::new(),
                        ],
                    ];
                    let mut forms = forms.iter().flatten().filter(|form| !form.is_empty());
                    let is_shown = forms.any(|form| text.lines().any(|line| line.starts_with(form.as_str())));
                    assert!(is_shown, "bmos.toml does not show {key}");
                }
            }
            names.push(name);
        }
        assert!(names.contains(&"app.toml".to_owned()), "{names:?}");
    }

    #[test]
    fn the_examples_in_the_text_have_no_mistakes() {
        let text = std::fs::read_to_string(Path::new(SHIPPED).join("README.md")).expect("a text");
        // A catalog and a password that an example names stand beside it.
        let folder = std::env::temp_dir().join(format!("pgshunt-examples-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("app.tenants"), "epoch = 0\nentries = 0\n").expect("a catalog");
        let password = folder.join("app.password");
        std::fs::write(&password, "secret\n").expect("a password");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&password, private).expect("a mode");
        let file = folder.join("README.md");
        let begins = |part: &&str| {
            ["    [s", "    [cache", "    [[cache"]
                .iter()
                .any(|head| part.starts_with(head))
        };
        let examples = text.split("\n\n").filter(begins);
        let mut count = 0;
        for example in examples {
            assert_ne!(right(&file, example), Said::default(), "{example}");
            count += 1;
        }
        assert!(count >= 4, "{count} examples were found");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
