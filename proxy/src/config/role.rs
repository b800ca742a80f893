//! A role that pgshunt itself is, or makes use of: a connection string, and perhaps a file with its password. What else the string
//! may say is for who asks to know.

use super::dsn::{self, Dsn};
use super::files;
use super::mistake::Wrong;
use super::raw::{Section, Written};

/// Reads `key` and `key_password_file`; the password is the one that either has. `form` is how the string is to be written, and
/// `unfit` says what in it does not belong there.
pub(super) fn role(
    section: &Section,
    key: &str,
    form: &str,
    unfit: impl FnOnce(&Dsn) -> Vec<Wrong>,
) -> Option<Dsn> {
    let file_key = format!("{key}_password_file");
    let from_file = section.path(&file_key).map(|path| {
        let secret = files::secret(&path.value);
        let secret = secret.map_err(|wrong| section.wrong_value(&file_key, path.at, wrong));
        (path.at, secret.ok())
    });
    let Some(Written { value, at }) = section.text(key) else {
        if let Some((at, _)) = from_file {
            let wrong = Wrong::new(format!("needs {key} = \"{form}\" beside it"));
            section.wrong_value(&file_key, at, wrong);
        }
        return None;
    };
    let wrong = |wrong| section.wrong_value(key, at, wrong);
    let dsn = match dsn::parse(value) {
        Ok(dsn) => dsn,
        Err(wrongs) => {
            for found in wrongs {
                let what = format!("has a mistake: {}", found.what);
                wrong(Wrong { what, ..found });
            }
            return None;
        }
    };
    if dsn.user.is_none() {
        wrong(Wrong::new("names no role").hint(format!("write {form}")));
    }
    unfit(&dsn).into_iter().for_each(wrong);
    if dsn.password.is_some() && from_file.is_some() {
        wrong(Wrong::new(format!("has a password, and so has {file_key}")).hint("keep one of them"));
    }
    let password = dsn.password.or(from_file.and_then(|(_, secret)| secret));
    Some(Dsn { password, ..dsn })
}
