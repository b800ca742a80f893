//! The house stands on floors: a module of pgshunt uses only what is below it. Files are short and say what they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. A module may use those before it, never those after it.
const FLOORS: [&str; 18] = [
    "protocol",
    "metrics",
    "fault",
    "net",
    "server",
    "cluster",
    "catalog",
    "pool",
    "twophase",
    "cache",
    "clickhouse",
    "snapshot",
    "client",
    "migration",
    "advisor",
    "admin",
    "config",
    "app",
];

/// The top floor, and what stands outside of the order: the crate's front page and the binary's first line.
const TOP: &str = "cli";
const OUTSIDE: [&str; 2] = ["lib", "main"];

const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.extension().is_some_and(|kind| kind == "rs") => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// `client` of `proxy/src/client/relay.rs` and of `proxy/src/client.rs`.
fn module(file: &Path, source: &Path) -> String {
    let inside = file.strip_prefix(source).expect("a file of the crate");
    let first = inside.components().next().expect("a name").as_os_str();
    first.to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn floor(module: &str) -> Option<usize> {
    let floors = FLOORS.iter().chain([&TOP]);
    floors.into_iter().position(|floor| *floor == module)
}

/// A line is a test's if it stands below `#[cfg(test)]`, and so is a file of tests.
fn is_of_tests(file: &Path) -> bool {
    let name = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    name == "tests" || name.ends_with("_tests") || file.components().any(|part| part.as_os_str() == "tests")
}

/// The modules a file uses: after `crate::`, in `use` lines and in paths, lists included.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut used = BTreeSet::new();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(list) => used.extend(first_names(list)),
            None => {
                used.insert(first_name(after));
            }
        }
    }
    used
}

fn first_name(path: &str) -> String {
    path.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// `a` and `d` of `a::{b, c}, d::e}`.
fn first_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut at_start = true;
    for (place, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && c.is_alphabetic() => {
                names.push(first_name(&list[place..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn no_module_uses_one_above_it() {
    let source = root().join("proxy/src");
    let mut wrong = Vec::new();
    for file in files(&source) {
        let module = module(&file, &source);
        if OUTSIDE.contains(&module.as_str()) || is_of_tests(&file) {
            continue;
        }
        let Some(own) = floor(&module) else {
            wrong.push(format!("{}: {module} has no floor", file.display()));
            continue;
        };
        let text = fs::read_to_string(&file).expect("a file");
        for used in used(&text) {
            if floor(&used).is_some_and(|floor| floor > own) {
                wrong.push(format!(
                    "{}: {module} uses {used}, which stands above it",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pure_floors_touch_nothing_outside() {
    let forbidden = [
        "tokio",
        "std::net",
        "std::fs",
        "std::time::Instant",
        "SystemTime",
        "tracing",
    ];
    let mut wrong = Vec::new();
    for folder in ["proxy/src/protocol", "routing-rules/src"] {
        for file in files(&root().join(folder)) {
            let text = fs::read_to_string(&file).expect("a file");
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            for word in forbidden {
                let is_used = |line: &&str| line.trim_start().starts_with("use ") && line.contains(word);
                if code.lines().any(|line| is_used(&line)) && !is_of_tests(&file) {
                    wrong.push(format!("{} uses {word}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_is_short_and_opens_with_what_it_is() {
    let mut wrong = Vec::new();
    for folder in ["proxy/src", "routing-rules/src", "tests/src", "tests/tests"] {
        for file in files(&root().join(folder)) {
            let text = fs::read_to_string(&file).expect("a file");
            if !text.starts_with("//! ") {
                wrong.push(format!("{} does not open with //!", file.display()));
            }
            let lines = text.lines().count();
            if lines > LINES_MAX && !is_of_tests(&file) {
                wrong.push(format!(
                    "{} has {lines} lines, more than {LINES_MAX}",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_paths_reads_paths() {
    let text = "use crate::fault::Fault;\nuse crate::{net::{buffer, tls}, pool};\n// crate::cli\nfn f() -> crate::app::X {}\n";
    let used: Vec<String> = used(text).into_iter().collect();
    assert_eq!(used, ["app", "fault", "net", "pool"]);
}

#[test]
fn every_test_the_readme_names_is_there() {
    let all = ["proxy/src", "routing-rules/src", "tests/tests"].map(|folder| files(&root().join(folder)));
    let code: String = all
        .iter()
        .flatten()
        .map(|file| fs::read_to_string(file).expect("a file"))
        .collect();
    let readme = fs::read_to_string(root().join("tests/README.md")).expect("the README");
    let rows = readme.lines().filter(|line| line.starts_with("| "));
    let tests = rows
        .filter_map(|row| row.split(" | ").nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2));
    // Other words in backquotes are files, commands and environment variables.
    let is_file = |name: &str| root().join(format!("tests/tests/{name}.rs")).is_file();
    let tests: Vec<&str> = tests
        .filter(|name| {
            name.matches('_').count() >= 2
                && !is_file(name)
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
        .collect();
    assert!(tests.len() > 40, "the tables are read");
    let missing: Vec<&&str> = tests
        .iter()
        .filter(|name| !code.contains(&format!("fn {name}(")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
