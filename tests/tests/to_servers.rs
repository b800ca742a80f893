//! pgshunt as a server's client: by method, sslmode and pgshunt's own certificate, beside libpq with the same parameters.

use std::os::unix::fs::PermissionsExt;

use pgshunt::cli::demo::cluster::Node;
use pgshunt_tests::certificates::{Certificates, IS_ENCRYPTED, MODES};
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{Config, Database, Door, until};

/// What becomes of a line to a server that asks a role for this: it is encrypted, it is not, there is none. `a/b` is `a`
/// for libpq and `b` for pgshunt, which sends no password in the clear. What they make of the server's certificate is
/// `certificates`' subject.
const METHODS: &str = "\
# method    disable  allow   prefer  require verify-ca verify-full
trust       plain    plain   tls     tls     tls       tls
password    plain/no plain/no tls    tls     tls       tls
md5         plain    plain   tls     tls     tls       tls
scram       plain    plain   tls     tls     tls       tls
cert        no       tls     tls     tls     tls       tls
tls_only    no       tls     tls     tls     tls       tls
plain_only  plain    plain   plain   no      no        no
nobody      no       no      no      no      no        no";

/// The same where the server wants a certificate (`cert`) and gets this one, in `require`.
const CERTIFICATES: &str = "\
# certificate   line
good            tls
none            no
another         no
expired         no
foreign         no";

/// A server with a role for each method, which has it in its name.
fn server(files: &Certificates) -> (Node, Database) {
    let (node, database) = files.server("server");
    let role = |name: &str| format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'; ");
    let roles = ["trust", "password", "scram", "cert", "tls_only", "plain_only"].map(role);
    let md5 = "SET password_encryption = 'md5'; ".to_owned() + &role("md5");
    database.superuser().psql(&(roles.concat() + &md5));
    let rules = "host all trust 127.0.0.1/32 trust\n\
                 host all password 127.0.0.1/32 password\n\
                 host all md5 127.0.0.1/32 md5\n\
                 hostssl all cert 127.0.0.1/32 cert\n\
                 hostnossl all cert 127.0.0.1/32 reject\n\
                 hostssl all tls_only 127.0.0.1/32 scram-sha-256\n\
                 hostnossl all tls_only 127.0.0.1/32 reject\n\
                 hostnossl all plain_only 127.0.0.1/32 scram-sha-256\n\
                 hostssl all plain_only 127.0.0.1/32 reject\n\
                 host all last 127.0.0.1/32 reject\n";
    let hba = node.data().join("pg_hba.conf");
    let others = std::fs::read_to_string(&hba).expect("rules");
    std::fs::write(&hba, rules.to_owned() + &others).expect("written");
    database.superuser().psql("SELECT pg_reload_conf()");
    let last = database.door().as_user("last");
    until("the rules", || last.refusal().contains("pg_hba.conf rejects"));
    (node, database)
}

fn by_libpq(door: &Door, mode: &str, files: &Certificates, certificate: &str) -> &'static str {
    let mut psql = door.program("psql");
    psql.args(["-XqAt", "-c", IS_ENCRYPTED]);
    psql.envs([
        ("PGSSLMODE", mode),
        ("PGSSLROOTCERT", &files.path("ca.crt")),
        ("PGSSLCERT", &files.path(&format!("{certificate}.crt"))),
        ("PGSSLKEY", &files.path(&format!("{certificate}.key"))),
        ("PGGSSENCMODE", "disable"),
    ]);
    let output = psql.output().expect("psql");
    match (output.status.success(), &output.stdout[..]) {
        (true, b"t\n") => "tls",
        (true, _) => "plain",
        (false, _) => "no",
    }
}

/// A pgshunt that knows every role's password and has this certificate.
fn config(database: &Database, mode: &str, files: &Certificates, certificate: &str) -> Config {
    let password = files.file("password");
    std::fs::write(&password, PASSWORD).expect("written");
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).expect("private");
    let mut users = "[auth]\nmode = \"users\"\n".to_owned();
    for role in roles() {
        users += &format!(
            "[[auth.user]]\nname = \"{role}\"\npassword_file = \"{}\"\n",
            password.display()
        );
    }
    let mut tls = format!("sslmode = \"{mode}\"\nsslrootcert = \"{}\"", files.path("ca.crt"));
    if certificate != "none" {
        let file = files.path(certificate);
        tls += &format!("\nsslcert = \"{file}.crt\"\nsslkey = \"{file}.key\"");
    }
    Config::new(database)
        .pool("query_wait_timeout = \"5s\"")
        .shard(&tls)
        .section(&users)
}

fn roles() -> impl Iterator<Item = &'static str> {
    let rows = METHODS.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.split_whitespace().next())
}

fn by_pgshunt(door: &Door) -> &'static str {
    match door.try_wire(&[]).map(|mut wire| wire.value(IS_ENCRYPTED)) {
        Ok(is_encrypted) if is_encrypted == "t" => "tls",
        Ok(_) => "plain",
        Err(_) => "no",
    }
}

/// What stands in a cell, with libpq's half and pgshunt's.
fn cell(cell: &str) -> (&str, &str) {
    cell.split_once('/').unwrap_or((cell, cell))
}

#[test]
fn by_method_and_sslmode() {
    let files = Certificates::new(&["cert"]);
    let (_node, database) = server(&files);
    let mut wrong = Vec::new();
    for (at, mode) in MODES.into_iter().enumerate() {
        let proxy = config(&database, mode, &files, "cert").start();
        for row in METHODS.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = row.split_whitespace().collect();
            let role = words[0];
            let expected = cell(words[at + 1]);
            let libpq = by_libpq(&database.door().as_user(role), mode, &files, "cert");
            let pgshunt = by_pgshunt(&proxy.door(&database).as_user(role));
            if (libpq, pgshunt) != expected {
                wrong.push(format!("{role} {mode}: libpq {libpq}, pgshunt {pgshunt}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not as written:\n{}", wrong.join("\n"));
}

#[test]
fn by_certificate_of_pgshunt() {
    // Certificates named after "ann" come in all kinds.
    let files = Certificates::new(&["ann", "bob"]);
    let (_node, database) = server(&files);
    let superuser = database.superuser();
    superuser.psql("ALTER ROLE cert RENAME TO ann");
    superuser.psql(&format!("ALTER ROLE ann PASSWORD '{PASSWORD}'"));
    let hba = superuser.psql("SHOW hba_file");
    let rules = std::fs::read_to_string(&hba).expect("rules");
    std::fs::write(&hba, rules.replace(" cert 127", " ann 127")).expect("written");
    superuser.psql("SELECT pg_reload_conf()");
    let ann = database.door().as_user("ann");
    until("the rules", || ann.refusal().contains("pg_hba.conf rejects"));
    let mut wrong = Vec::new();
    for row in CERTIFICATES.lines().filter(|line| !line.starts_with('#')) {
        let (kind, expected) = row.split_once(' ').expect("two words");
        let certificate = match kind {
            "good" => "ann",
            "another" => "bob",
            "expired" => "ann-expired",
            "foreign" => "ann-foreign",
            other => other,
        };
        let user = format!(
            "[[auth.user]]\nname = \"ann\"\npassword_file = \"{}\"",
            files.path("password")
        );
        let proxy = config(&database, "require", &files, certificate)
            .section(&user)
            .start();
        let libpq = by_libpq(&ann, "require", &files, certificate);
        let pgshunt = by_pgshunt(&proxy.door(&database).as_user("ann"));
        if (libpq, pgshunt) != cell(expected.trim()) {
            wrong.push(format!("{kind}: libpq {libpq}, pgshunt {pgshunt}"));
        }
    }
    assert!(wrong.is_empty(), "not as written:\n{}", wrong.join("\n"));
}
