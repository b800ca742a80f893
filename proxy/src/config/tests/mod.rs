//! Golden tables: what is written, and what it means or what is said about it.

mod dsn;
mod example;
mod meaning;
mod mistakes;
mod random;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

/// An environment that says nothing.
fn silence() -> Environment {
    Environment {
        user: None,
        password: None,
        control_password: None,
        threads: 4,
    }
}

fn read(text: &str) -> Result<Snapshot, Vec<Mistake>> {
    check::snapshot(Path::new("pgshunt.toml"), text, &silence())
}

fn shown(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("\n")
}

/// A folder of its own, gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pgshunt-config-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be written");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        let folder = path.parent().expect("it is in a folder");
        std::fs::create_dir_all(folder).expect("the temporary folder can be written");
        std::fs::write(&path, text).expect("the temporary folder can be written");
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).expect("the file is ours");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
