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
