//! Who may log in: `auth_type`, `auth_file`, `auth_user` become `[auth]` and its users.

use super::Import;
use super::sheet::{Sheet, Value};
use crate::config::auth::{is_md5, is_scram};
use crate::snapshot::SecretText;

impl Import<'_> {
    /// `[auth]` and `[[auth.user]]`.
    pub(super) fn auth(&mut self, sheet: &mut Sheet) {
        let kind = self.take("auth_type");
        let has_file = self.take("auth_file").is_some();
        let has_query = self.asks_servers();
        let mode = match kind.as_deref().map(str::to_lowercase).as_deref() {
            Some("trust" | "any") => "trust",
            Some("hba" | "pam" | "ldap") => {
                let why =
                    "not carried over: roles prove their passwords (SCRAM or md5), or bring certificates";
                self.note(None, "auth_type", why);
                if has_query { "passthrough" } else { "users" }
            }
            Some("cert") => {
                let why = "names in certificates: mode = \"verify-full\" in [tls] checks them beside the password; \
                           write cert = \"…\" in [[auth.user]] to let them in without one";
                self.note(None, "auth_type", why);
                if has_query { "passthrough" } else { "users" }
            }
            Some(_) | None if has_query || !has_file => "passthrough",
            Some(_) | None => "users",
        };
        sheet.put("auth", "mode", Value::Text(mode.into()));
        if let Some(query) = self.take("auth_query") {
            match query.contains("$1") {
                true => sheet.put("auth", "auth_query", Value::Text(query)),
                false => self.note(None, "auth_query", "not carried over: it does not ask for $1"),
            }
        }
        if has_file && self.users.is_none() {
            let why = "its roles are missing here: give the file with --users";
            self.note(None, "auth_file", why);
        }
        self.users_of_the_file(sheet);
    }

    /// Does PgBouncer ask a server for passwords?
    pub(super) fn asks_servers(&self) -> bool {
        self.option("auth_user").is_some() || self.databases_with("auth_user").next().is_some()
    }

    fn users_of_the_file(&mut self, sheet: &mut Sheet) {
        for (name, password) in self.users.clone().unwrap_or_default() {
            if password.is_empty() {
                self.note(
                    None,
                    &name,
                    "has an empty password in the users file: it is not carried over",
                );
                continue;
            }
            self.carried += 1;
            sheet.open("[[auth.user]]".into());
            sheet.add("name", Value::Text(name.clone()));
            if is_scram(&password) || is_md5(&password) {
                sheet.add("verifier", Value::Text(password));
                continue;
            }
            let file = self.password_file(&name, &password);
            sheet.add("password_file", Value::Text(file));
        }
    }

    /// Where a plain password will be, noted once for each role.
    pub(super) fn password_file(&mut self, name: &str, password: &str) -> String {
        let safe = |c: char| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        };
        let file: String = name.chars().map(safe).collect();
        let path = format!("{}/{file}.password", self.secrets);
        if !self.passwords.iter().any(|(known, _)| *known == path) {
            self.passwords.push((path.clone(), SecretText::new(password)));
        }
        path
    }

    /// The plain password of a role in the users file.
    pub(super) fn plain_password(&self, name: &str) -> Option<String> {
        let users = self.users.as_ref()?;
        let (_, password) = users.iter().find(|(known, _)| known == name)?;
        let is_plain = !password.is_empty() && !is_scram(password) && !is_md5(password);
        is_plain.then(|| password.clone())
    }
}
