//! `Type=notify`: systemd hears when clients can come in, and when the end begins. And the unit files say what is true.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;

use pgshunt::cli::demo::cluster::{Scratch, free_port};
use pgshunt_tests::cluster::PASSWORD;
use pgshunt_tests::{PATIENCE, cluster, programs, proxy};

#[test]
fn ready_and_stopping() {
    let database = cluster::database();
    let folder = Scratch::new("systemd").expect("a folder");
    let socket = folder.path().join("notify");
    let listener = UnixDatagram::bind(&socket).expect("bound");
    listener.set_read_timeout(Some(PATIENCE)).expect("a time");
    let hear = || {
        let mut heard = [0; 64];
        let length = listener.recv(&mut heard).expect("a datagram");
        String::from_utf8_lossy(&heard[..length]).into_owned()
    };
    let mut serve = proxy::pgshunt();
    let dsn = format!("postgres://postgres@127.0.0.1:{}/postgres", database.cluster.port);
    let port = free_port();
    serve.args(["serve", "--to", &dsn, "--listen", &format!("127.0.0.1:{port}")]);
    serve.env("PGPASSWORD", PASSWORD).env("NOTIFY_SOCKET", &socket);
    let mut child = serve.stderr(Stdio::null()).spawn().expect("pgshunt");
    assert_eq!(hear(), "READY=1");
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
        "it is ready"
    );
    programs::signal(child.id(), "TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert!(child.wait().expect("an end").success());
}

/// Every file a unit or an image names is there.
#[test]
fn units_and_compose_name_files_that_exist() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let read = |name: &str| std::fs::read_to_string(deploy.join(name)).expect(name);
    assert!(read("systemd/pgshunt.service").contains("Type=notify"));
    for job in ["nightly", "weekly"] {
        let unit = read(&format!("systemd/bmos-{job}.service"));
        assert!(unit.contains(&format!("postgres/{job}.sql")));
        assert!(deploy.join(format!("postgres/{job}.sql")).exists());
        assert!(read(&format!("systemd/bmos-{job}.timer")).contains("OnCalendar="));
    }
    for line in read("compose.yml").lines() {
        let Some((_, file)) = line.split_once("- ./") else {
            continue;
        };
        let file = file.split(':').next().expect("a path");
        assert!(deploy.join(file).exists(), "{file}");
    }
}

/// The image: what it copies is there and not ignored, what it builds is named so, and nobody is root in it.
#[test]
fn the_image_is_made_of_what_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect(name);
    let dockerfile = read("deploy/Dockerfile");
    let lines = |word: &str| -> Vec<&str> {
        let all = dockerfile.lines().map(str::trim);
        all.filter_map(|line| line.strip_prefix(word)).collect()
    };
    // Whole sources, but for what is ignored; the lock file must be among them.
    assert!(lines("COPY ").contains(&". ."));
    let ignored = read("deploy/Dockerfile.dockerignore");
    for needed in [
        "Cargo.lock",
        "Cargo.toml",
        "proxy/Cargo.toml",
        "routing-rules/Cargo.toml",
        "tests/Cargo.toml",
        "deploy/pgshunt.toml",
    ] {
        assert!(root.join(needed).exists(), "{needed}");
        let is_ignored = |line: &str| !line.is_empty() && needed.starts_with(line.trim_end_matches('/'));
        assert!(!ignored.lines().any(is_ignored), "{needed} is ignored");
    }
    assert!(
        lines("RUN ")
            .iter()
            .any(|run| run.contains("--locked --package pgshunt --bin pgshunt"))
    );
    assert!(read("proxy/Cargo.toml").contains("name = \"pgshunt\""));
    // The image's compiler is as new as the sources want: any stable one of today.
    assert!(lines("FROM ").iter().any(|from| from.starts_with("rust:1-")));
    let copied = lines("COPY --from=build ")[0].split(' ').collect::<Vec<_>>();
    assert_eq!(copied, ["/src/target/release/pgshunt", "/usr/local/bin/pgshunt"]);
    assert_eq!(lines("WORKDIR "), ["/src"]);
    assert_eq!(lines("ENTRYPOINT "), ["[\"/usr/local/bin/pgshunt\"]"]);
    // The user is made before it is taken, and taken last.
    let user = lines("USER ")[0];
    let made = dockerfile.find(&format!("nologin {user}")).expect("it is made");
    let taken = dockerfile.find(&format!("USER {user}")).expect("it is taken");
    assert!(made < taken && taken < dockerfile.find("ENTRYPOINT").expect("an entry"));
    assert_eq!(lines("STOPSIGNAL "), ["SIGTERM"]);
    // What compose says to pgshunt is what pgshunt takes.
    let compose = read("deploy/compose.yml");
    assert!(compose.contains("dockerfile: deploy/Dockerfile"));
    let help = proxy::pgshunt()
        .args(["serve", "--help"])
        .output()
        .expect("pgshunt");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let said = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- --"));
    let said: Vec<&str> = said.filter_map(|flag| flag.split('=').next()).collect();
    assert_eq!(said, ["to", "listen", "admin", "http"]);
    assert!(
        said.iter().all(|flag| help.contains(&format!("--{flag} "))),
        "{help}"
    );
    for port in lines("EXPOSE ")[0].split(' ') {
        assert!(compose.contains(&format!("0.0.0.0:{port}")), "{port}");
    }
}
