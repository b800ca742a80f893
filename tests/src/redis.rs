//! A real redis-server of one test's own, and what the test says to it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use pgshunt::cache::redis::resp::{self, Reply};
use pgshunt::cli::demo::cluster::{Scratch, free_port};

use crate::{PATIENCE, until};

/// A redis-server. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    scratch: Scratch,
    /// Where it listens.
    pub port: u16,
    /// What it is started with besides.
    arguments: Vec<String>,
    process: Option<Child>,
}

/// What `AUTH` wants.
pub const REDIS_PASSWORD: &str = "a password for redis";

/// What `AUTH` wants of who asks a sentinel.
pub const SENTINEL_PASSWORD: &str = "another for sentinels";

/// What answers are sealed with.
pub const REDIS_SECRET: &str = "0123456789abcdef0123456789abcdef";

impl Redis {
    /// Starts one that keeps its contents over a restart.
    #[track_caller]
    pub fn start() -> Redis {
        Redis::with(|_| Vec::new())
    }

    /// Starts one with these arguments besides; its port is said.
    #[track_caller]
    pub fn with(arguments: impl FnOnce(u16) -> Vec<String>) -> Redis {
        let scratch = Scratch::new("redis").expect("a folder");
        let secrets = [
            ("secret", REDIS_SECRET),
            ("password", REDIS_PASSWORD),
            ("sentinel", SENTINEL_PASSWORD),
        ];
        for (name, secret) in secrets {
            let path = scratch.path().join(name);
            fs::write(&path, secret).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        }
        let port = free_port();
        let mut redis = Redis {
            scratch,
            port,
            arguments: arguments(port),
            process: None,
        };
        redis.again();
        redis
    }

    /// Starts it again, at the same port.
    #[track_caller]
    pub fn again(&mut self) {
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "redis-server",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--requirepass", REDIS_PASSWORD, "--enable-debug-command", "yes"]);
        command.args(&self.arguments);
        command.arg("--dir").arg(self.scratch.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().expect("redis-server");
        until("redis to listen", || {
            // Somebody's connection has taken one of its ports for a moment: it ended at once.
            if child.try_wait().expect("a child").is_some() {
                child = command.spawn().expect("redis-server");
            }
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        self.process = Some(child);
    }

    /// Ends it, without a word to its clients.
    #[track_caller]
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().expect("a child");
            child.wait().expect("a child");
        }
    }

    /// Does it run?
    pub fn is_there(&self) -> bool {
        self.process.is_some()
    }

    /// `[redis]` of a configuration.
    pub fn section(&self) -> String {
        self.section_with(&format!("redis://127.0.0.1:{}/1", self.port))
    }

    /// The same with another address.
    pub fn section_with(&self, url: &str) -> String {
        let folder = self.scratch.path().display();
        format!(
            "[redis]\nurl = \"{url}\"\nsecret_file = \"{folder}/secret\"\n\
             password_file = \"{folder}/password\"\ntimeout = \"500ms\"\n"
        )
    }

    /// The same with another address, of sentinels that want a password.
    pub fn section_of_sentinels(&self, url: &str) -> String {
        let folder = self.scratch.path().display();
        format!(
            "{}sentinel_password_file = \"{folder}/sentinel\"\n",
            self.section_with(url)
        )
    }

    /// A sentinel that watches over this one as `main`. Killed when dropped.
    #[track_caller]
    pub fn sentinel(&self) -> Sentinel {
        let port = free_port();
        let path = self.scratch.path().join(format!("sentinel{port}.conf"));
        let text = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass \"{SENTINEL_PASSWORD}\"\nsentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main \"{REDIS_PASSWORD}\"\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
            self.port
        );
        fs::write(&path, text).expect("a file");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-sentinel"]).arg(path);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let sentinel = Sentinel {
            port,
            process: child.expect("redis-sentinel"),
        };
        until("the sentinel to listen", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        sentinel
    }

    /// Says one thing.
    #[track_caller]
    pub fn say(&self, words: &[&[u8]]) -> Reply {
        self.ask(words).expect("an answer")
    }

    /// Says one thing, to a Redis that may hang up: one that a sentinel makes the master ends all its connections.
    pub fn ask(&self, words: &[&[u8]]) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut out = Vec::new();
        for words in [
            &[&b"AUTH"[..], REDIS_PASSWORD.as_bytes()][..],
            &[b"SELECT", b"1"],
            words,
        ] {
            resp::command(&mut out, words);
        }
        stream.write_all(&out)?;
        let (mut input, mut replies) = (Vec::new(), Vec::new());
        while replies.len() < 3 {
            while let Some((reply, bytes)) = resp::reply(&input, 64 << 20).expect("a reply") {
                input.drain(..bytes);
                replies.push(reply);
            }
            if replies.len() < 3 {
                let mut part = [0; 65536];
                let read = stream.read(&mut part)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                input.extend_from_slice(&part[..read]);
            }
        }
        Ok(replies.remove(2))
    }

    /// The names of all answers that lie there.
    #[track_caller]
    pub fn answers(&self) -> Vec<Vec<u8>> {
        let Reply::Array(Some(names)) = self.say(&[b"KEYS", b"pgshunt:answer:*"]) else {
            panic!("no list of names");
        };
        let name = |reply| match reply {
            Reply::Bulk(Some(name)) => name,
            other => panic!("{other:?}"),
        };
        names.into_iter().map(name).collect()
    }
}

/// A redis-sentinel.
#[derive(Debug)]
pub struct Sentinel {
    /// Where it listens.
    pub port: u16,
    process: Child,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(child) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
