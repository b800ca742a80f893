//! Files that the configuration names: are they there, are they private, what secret do they hold.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::mistake::Wrong;
use crate::snapshot::SecretText;

/// Is it a file that can be read?
pub(super) fn readable(path: &Path) -> Result<(), Wrong> {
    open(path).map(drop)
}

/// Is it a file that can be read, but not by everybody?
pub(super) fn private(path: &Path) -> Result<(), Wrong> {
    open_private(path).map(drop)
}

/// The secret in a private file, without the line end after it.
pub(super) fn secret(path: &Path) -> Result<SecretText, Wrong> {
    let mut text = String::new();
    open_private(path)?
        .take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(path, &error))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(Wrong::new(format!("names an empty file: {}", path.display())));
    }
    if text.len() as u64 > SECRET_BYTES_MAX || secret.contains(['\n', '\0']) {
        let what = format!("names a file that holds more than a password: {}", path.display());
        return Err(Wrong::new(what).hint("the file holds the password and nothing else"));
    }
    Ok(SecretText::new(secret))
}

fn open_private(path: &Path) -> Result<File, Wrong> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.permissions().mode() & OTHERS_MAY != 0 {
        let path = path.display();
        return Err(
            Wrong::new(format!("names a file that everybody may read: {path}"))
                .hint(format!("chmod 600 {path}")),
        );
    }
    Ok(file)
}

fn open(path: &Path) -> Result<File, Wrong> {
    // A pipe would block the open, a directory would open and then fail to read.
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(Wrong::new(format!("is not a file: {}", path.display())));
    }
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Wrong {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Wrong::new(format!("cannot be read: {}: {why}", path.display()))
}

/// The mode bits of everybody else.
const OTHERS_MAY: u32 = 0o007;

/// PostgreSQL takes passwords of up to 64 KiB over the wire.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
