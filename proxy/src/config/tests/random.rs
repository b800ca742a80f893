//! No text makes the configuration panic.

use proptest::prelude::*;

use super::*;

/// Pieces that mean something, so that chance gets past the first letter; `~` between them.
const PIECES: &str = "[~]~[[~]]~{~}~=~,~.~\n~\"~'~:~/~@~%~%4~?~&~ ~\\~é~\0~0~1e400~-1~99999999999999999999~pool~size~\
    database~shard~servers~user~auth~listen~clients~control~postgres://~host=~port=~sslmode~unix:~[::1]~h:1~5m~1h~\
    \"x\"~[[database]]\n~[[database.shard]]\n~name = \"a\"\n~name = \"\"\n~servers = [\"h\", 1]\n";

fn texts() -> impl Strategy<Value = String> {
    let known: Vec<String> = PIECES.split('~').map(str::to_owned).collect();
    let piece = prop_oneof![4 => prop::sample::select(known), 1 => any::<char>().prop_map(String::from)];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_panics(text in texts()) {
        let _ = read(&text);
        let _ = super::super::dsn::parse(&text);
        let _ = super::super::duration::parse(&text);
        let _ = super::super::address::server(&text);
    }

    #[test]
    fn no_connection_string_panics(text in texts()) {
        let _ = super::super::dsn::parse(&format!("postgres://{text}"));
        let control = format!("[[database]]\nname = \"a\"\ncontrol = '''postgres://{text}'''\n");
        let _ = read(&control);
    }
}
