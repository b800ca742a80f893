//! The parameters a server reports by itself (ParameterStatus), and bringing a client's view of them up to date.

use std::sync::Arc;

use super::settings::Settings;
use crate::protocol::reply;

/// Reported parameters, shared by all who see the same ones.
pub type Reported = Arc<Settings>;

/// Notes one ParameterStatus body; a malformed one is left out.
pub fn note(reported: &mut Reported, body: &[u8]) {
    let Some((name, rest)) = crate::protocol::message::cstr(body) else {
        return;
    };
    let Some((value, _)) = crate::protocol::message::cstr(rest) else {
        return;
    };
    if reported.value(name) != Some(value) {
        Arc::make_mut(reported).set(name, value);
    }
}

/// What a standby reports, without that it is one.
pub fn as_on_primary(reported: &Reported) -> Reported {
    let mut reported = reported.clone();
    if reported.value(IN_HOT_STANDBY).is_some() {
        Arc::make_mut(&mut reported).set(IN_HOT_STANDBY, b"off");
    }
    reported
}

/// Reported since PostgreSQL 14.
pub const IN_HOT_STANDBY: &[u8] = b"in_hot_standby";

/// Appends a ParameterStatus for each parameter that differs, then both views are one.
pub fn catch_up(out: &mut Vec<u8>, client: &mut Reported, server: &mut Reported) {
    if Arc::ptr_eq(client, server) {
        return;
    }
    if client == server {
        // One view from now on: the next look is short.
        *server = client.clone();
        return;
    }
    for (name, value) in server
        .iter()
        .filter(|(name, value)| client.value(name) != Some(value))
    {
        reply::parameter_status(out, name, value);
    }
    *client = server.clone();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hears_only_what_changed() {
        let mut server = Reported::default();
        note(&mut server, b"TimeZone\0UTC\0");
        note(&mut server, b"DateStyle\0ISO\0");
        let mut client = server.clone();
        note(&mut server, b"TimeZone\0Asia/Tokyo\0");
        note(&mut server, b"broken");
        let mut out = Vec::new();
        catch_up(&mut out, &mut client, &mut server);
        assert_eq!(out, b"S\0\0\0\x18TimeZone\0Asia/Tokyo\0");
        out.clear();
        catch_up(&mut out, &mut client, &mut server);
        assert!(out.is_empty());
    }
}
