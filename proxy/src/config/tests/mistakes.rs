//! Every mistake, word for word.

use super::*;

/// What is written after five right lines, `=>`, and all that is said about it; a line `----` between cases.
const MISTAKES: &str = include_str!("mistakes.txt");

/// What is written first: nothing wrong in it, and the shard still open.
const BEFORE: &str = "\
[[database]]
name = \"app\"
control = \"postgres://pgshunt@/\"
[[database.shard]]
servers = [\"127.0.0.1\"]
";

#[test]
fn every_mistake_word_for_word() {
    read(BEFORE).expect("nothing is wrong with the beginning");
    for case in MISTAKES.trim_end().split("\n----\n") {
        let (written, said) = case.split_once("\n=>\n").expect("each case has an arrow");
        let mistakes = read(&format!("{BEFORE}{written}\n")).expect_err(written);
        let shown = shown(&mistakes).replace("pgshunt.toml:", "");
        assert_eq!(shown, said, "\n{written}\n");
    }
}

#[test]
fn what_is_no_toml_is_said_by_line() {
    for (written, said) in [
        (
            "[pool\nsize = 1\n",
            "pgshunt.toml:1: not TOML: unclosed table, expected `]`",
        ),
        (
            "[pool]\nsize = 1\nsize = 2\n[pool]\n",
            "pgshunt.toml:3: not TOML: duplicate key\npgshunt.toml:4: not TOML: duplicate key",
        ),
    ] {
        assert_eq!(shown(&read(written).expect_err(written)), said);
    }
}

#[test]
fn an_empty_file_lacks_a_database() {
    let said = "pgshunt.toml: there is no [[database]]\n  hint: add [[database]] with a name and a [[database.shard]]";
    assert_eq!(shown(&read("").expect_err("empty")), said);
}

#[test]
fn a_missing_file_and_a_folder_are_no_configuration() {
    let mistakes = load(Path::new("/nowhere/pgshunt.toml")).expect_err("not there");
    assert!(shown(&mistakes).starts_with("/nowhere/pgshunt.toml: cannot be read: No such file"));
    assert!(load(Path::new("/tmp")).is_err());
}

#[test]
fn secrets_and_keys_must_be_private() {
    let folder = Folder::new("private");
    folder.write("open.pw", "x\n", 0o644);
    folder.write("empty.pw", "\n", 0o600);
    folder.write("long.pw", "a\nb\n", 0o600);
    let users = ["open", "empty", "long"]
        .map(|name| format!("[[auth.user]]\nname = \"{name}\"\npassword_file = \"{name}.pw\"\n"));
    let file = folder.write("pgshunt.toml", &format!("{BEFORE}{}", users.concat()), 0o644);
    let mistakes = load(&file).expect_err("three wrong files");
    let said = shown(&mistakes).replace(&format!("{}/", folder.0.display()), "");
    assert_eq!(
        said,
        "pgshunt.toml:8: password_file in [[auth.user]] names a file that everybody may read: open.pw\n  \
         hint: chmod 600 open.pw\n\
         pgshunt.toml:11: password_file in [[auth.user]] names an empty file: empty.pw\n\
         pgshunt.toml:14: password_file in [[auth.user]] names a file that holds more than a password: long.pw\n  \
         hint: the file holds the password and nothing else"
    );
}

#[test]
fn mistakes_never_quote_a_password() {
    for dsn in [
        "postgres://u:hunter2@h:x/d",
        "postgres://u:hun@ter2@h/d?hunter2=1",
        "postgres://u:p/hunter2@h/d",
        "postgres://u:hunter2%zz@h/d",
        "postgres://u:?hunter2@h/d",
        "host=h password=hunter2 port=x colour",
        "password='hunter2 host=h",
        "hunter2",
    ] {
        let from_flag = from_dsn::snapshot(dsn, &Overrides::default(), &silence()).expect_err(dsn);
        let file =
            format!("[[database]]\nname = \"a\"\ncontrol = \"{dsn}\"\nshard = [{{ servers = [\"h\"] }}]\n");
        let from_file = read(&file).expect_err(dsn);
        assert!(!shown(&from_flag).contains("hunter2"), "{}", shown(&from_flag));
        assert!(!shown(&from_file).contains("hunter2"), "{}", shown(&from_file));
    }
}
