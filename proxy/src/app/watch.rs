//! Has the configuration, or a file it names, changed? Told apart by what `stat` says, once a second.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What tells a file from its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

/// Files, and how they were when they were last read.
#[derive(Debug, Default)]
pub struct Watch {
    files: Vec<PathBuf>,
    read: Vec<Option<Mark>>,
    changing: Option<Vec<Option<Mark>>>,
}

impl Watch {
    /// These files are about to be read.
    pub fn reads(&mut self, files: Vec<PathBuf>) {
        self.files = files;
        self.read = self.look();
        self.changing = None;
    }

    /// Has a file changed since, and none of them between this look and the one before? So nothing half-written is
    /// read, and of a certificate and its key not only the first.
    pub fn has_changed(&mut self) -> bool {
        let now = self.look();
        if now == self.read {
            self.changing = None;
            return false;
        }
        if self.changing.as_ref() == Some(&now) {
            return true;
        }
        self.changing = Some(now);
        false
    }

    fn look(&self) -> Vec<Option<Mark>> {
        let mark = |file: &PathBuf| {
            let metadata = std::fs::metadata(file).ok()?;
            Some(Mark {
                device: metadata.dev(),
                inode: metadata.ino(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                size: metadata.size(),
            })
        };
        self.files.iter().map(mark).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_it_has_settled() {
        let file = std::env::temp_dir().join(format!("pgshunt-watch-{}", std::process::id()));
        let mut watch = Watch::default();
        watch.reads(vec![file.clone()]);
        assert!(!watch.has_changed());
        std::fs::write(&file, "1").expect("written");
        assert!(!watch.has_changed());
        std::fs::write(&file, "12").expect("written");
        assert!(!watch.has_changed(), "it still changes");
        assert!(watch.has_changed());
        watch.reads(vec![file.clone()]);
        assert!(!watch.has_changed());
        std::fs::remove_file(&file).expect("removed");
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
    }
}
