//! Which files a configuration names, right or wrong as it may be: they are watched with it.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// The file itself, and every file it names.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_path_buf()];
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (document, _) = DeTable::parse_recoverable(&text);
    let folder = path.parent().unwrap_or(Path::new(""));
    in_table(document.get_ref(), folder, &FILES, &mut files);
    let mut rules = Vec::new();
    in_table(document.get_ref(), folder, &[RULES], &mut rules);
    files.extend(rules.iter().filter_map(|rules| catalog(rules)));
    files.sort();
    files.dedup();
    files
}

/// The file of tenants that a file of rules names.
fn catalog(rules: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(rules).ok()?;
    let (document, _) = DeTable::parse_recoverable(&text);
    let file = document
        .get_ref()
        .get("sharding")?
        .get_ref()
        .as_table()?
        .get("catalog")?;
    Some(rules.parent()?.join(file.get_ref().as_str()?))
}

fn in_table(table: &DeTable, folder: &Path, keys: &[&str], files: &mut Vec<PathBuf>) {
    for (key, value) in table {
        match value.get_ref() {
            DeValue::Table(table) => in_table(table, folder, keys, files),
            DeValue::Array(list) => {
                for item in list.iter() {
                    if let DeValue::Table(table) = item.get_ref() {
                        in_table(table, folder, keys, files);
                    }
                }
            }
            DeValue::String(file) if keys.contains(&&**key.get_ref()) => files.push(folder.join(&**file)),
            _ => {}
        }
    }
}

/// Keys whose value is a path.
const FILES: [&str; 10] = [
    "certificate",
    "key",
    "client_ca",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "password_file",
    "control_password_file",
    "reader_password_file",
    RULES,
];

const RULES: &str = "rules";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn files_at_every_depth() {
        let path = std::env::temp_dir().join(format!("pgshunt-named-{}.toml", std::process::id()));
        let rules = path.with_extension("rules");
        std::fs::write(&rules, "[sharding]\ncatalog = \"app.tenants\"\n").expect("written");
        let rules_name = rules.file_name().expect("a name").to_string_lossy().into_owned();
        let text = "[tls]\nkey = \"own.key\"\n[[database]]\nrules = \"RULES\"\n[[database]]\nrules = \"/etc/rules\"\n\
                    [[database.shard]]\nsslcert = \"x.crt\"\n[[auth.user]]\npassword_file = \"p\"\nname = \"n\"\nbroken =";
        std::fs::write(&path, text.replace("RULES", &rules_name)).expect("written");
        let folder = std::env::temp_dir();
        let mut expected = ["own.key", "/etc/rules", "x.crt", "p", &rules_name, "app.tenants"]
            .map(|file| folder.join(file))
            .to_vec();
        expected.push(path.clone());
        expected.sort();
        assert_eq!(files(&path), expected);
        let _ = [path, rules].map(|file| std::fs::remove_file(file).expect("removed"));
    }

    #[test]
    fn every_key_is_one_there_is() {
        for key in FILES {
            let sections = [
                &keys::TLS,
                &keys::SERVER_TLS,
                &keys::DATABASE,
                &keys::COORDINATOR,
                &keys::AUTH_USER,
            ];
            assert!(sections.iter().any(|keys| keys.known.contains(&key)), "{key}");
        }
    }
}
