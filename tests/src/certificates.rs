//! Certificates of all kinds, made by `certs/make.sh` and `openssl`: good ones, expired ones, of another CA, for another host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgshunt::cli::demo::cluster::{Node, Plan, Scratch};

use crate::cluster::{self, Cluster, Database};
use crate::until;

/// libpq's values of `sslmode`, the weakest first.
pub const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// Is the server's own line encrypted?
pub const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// A folder of certificates, gone when dropped. The names: `NAME.crt` and `NAME.key`; roles' keys are also there as
/// `NAME.pk8`, which is how pgjdbc wants them.
///
/// `ca` signs `server` (localhost, 127.0.0.1), `expired`, `elsewhere` (another host) and each client; `other` is another
/// CA, which signs `foreign`.
#[derive(Debug)]
pub struct Certificates(Scratch);

impl Certificates {
    /// With a certificate for each of these roles, and one for `ann-expired` and `ann-foreign` beside each `ann`.
    pub fn new(roles: &[&str]) -> Certificates {
        let scratch = Scratch::new("certificates").expect("a folder");
        let folder = scratch.path();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../certs/make.sh");
        let mut make = Command::new("sh");
        make.arg(script).arg(folder).args(roles);
        run(&mut make);
        let more = r#"
            new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
            $new -x509 -keyout other.key -out other.crt -subj /CN=other
            sign() { # NAME COMMON-NAME CA DAYS EXTENSIONS
                $new -keyout $1.key -out $1.csr -subj "/CN=$2"
                printf "$5\nbasicConstraints=CA:FALSE\n" > extensions
                openssl x509 -req -in $1.csr -CA $3.crt -CAkey $3.key -CAcreateserial -days $4 -extfile extensions -out $1.crt
            }
            here="subjectAltName=DNS:localhost,IP:127.0.0.1"
            sign expired localhost ca -1 $here
            sign foreign localhost other 9 $here
            sign elsewhere db.example.com ca 9 subjectAltName=DNS:db.example.com
            for role in $ROLES; do
                sign $role-expired $role ca -1 keyUsage=digitalSignature
                sign $role-foreign $role other 9 keyUsage=digitalSignature
            done
            for role in $ROLES; do
                for key in $role $role-expired $role-foreign; do
                    openssl pkcs8 -topk8 -nocrypt -in $key.key -outform DER -out $key.pk8
                done
            done
            chmod 600 *.key; chmod 644 *.crt"#;
        let mut openssl = Command::new("sh");
        openssl.args(["-ec", more]).current_dir(folder);
        run(openssl.env("ROLES", roles.join(" ")));
        Certificates(scratch)
    }

    /// A server that speaks TLS with this certificate and checks clients' against `ca`, and a database on it.
    pub fn server(&self, certificate: &str) -> (Node, Database) {
        let node = cluster::private(&Plan {
            name: "pg",
            settings: &[],
            hba: &[],
        });
        let database = Cluster::of(&node).database();
        self.install(&node, certificate);
        fs::copy(self.file("ca.crt"), node.data().join("ca.crt")).expect("copied");
        node.installation()
            .own(&node.data().join("ca.crt"))
            .expect("owned");
        let superuser = database.superuser();
        superuser.psql("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'");
        superuser.psql("ALTER SYSTEM SET ssl = on");
        superuser.psql("SELECT pg_reload_conf()");
        until("TLS", || {
            let mut psql = database.door().program("psql");
            psql.args(["-Xqc", ""]).env("PGSSLMODE", "require");
            psql.output().expect("psql").status.success()
        });
        (node, database)
    }

    /// Gives a server another certificate, which it reads when it reloads.
    pub fn install(&self, node: &Node, certificate: &str) {
        for kind in ["crt", "key"] {
            let place = node.data().join(format!("server.{kind}"));
            fs::copy(self.file(&format!("{certificate}.{kind}")), &place).expect("copied");
            node.installation().own(&place).expect("owned");
        }
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file in the folder, as a text.
    pub fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// The lines of `[tls]` with the certificate `server`, clients' certificates checked against `ca`.
    pub fn towards_clients(&self, mode: &str) -> String {
        format!(
            "[tls]\nmode = \"{mode}\"\ncertificate = \"{}\"\nkey = \"{}\"\nclient_ca = \"{}\"",
            self.path("server.crt"),
            self.path("server.key"),
            self.path("ca.crt")
        )
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("sh");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}
