//! PostgreSQL's own programs as clients: psql and pgbench, run to their end or to a deadline.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::Failure;
use super::cluster::Installation;
use super::wire::Door;

/// What a program said, and how it ended.
pub struct Said {
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// Its exit status.
    pub status: ExitStatus,
}

/// psql with these arguments, rows unaligned and without heading.
pub fn psql(installation: &Installation, door: &Door, arguments: &[&str]) -> Result<Said, Failure> {
    let mut psql = installation.client("psql");
    psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1"]).args(arguments);
    run(at(&mut psql, door))
}

/// pgbench with these arguments; its figures.
pub fn pgbench(installation: &Installation, door: &Door, arguments: &[&str]) -> Result<Figures, Failure> {
    let mut pgbench = installation.client("pgbench");
    pgbench.arg("-n").args(arguments);
    let ended = run(at(&mut pgbench, door))?;
    if !ended.status.success() {
        return Err(Failure(format!("pgbench failed: {}", ended.err.trim())));
    }
    let figures = Figures::read(&ended.out);
    figures.ok_or_else(|| Failure(format!("pgbench said nothing of use: {}", ended.out)))
}

/// What pgbench reports.
#[derive(Debug, PartialEq)]
pub struct Figures {
    /// Transactions done.
    pub transactions: u64,
    /// Transactions per second, connects left out.
    pub tps: f64,
}

impl Figures {
    fn read(out: &str) -> Option<Figures> {
        let after = |label: &str| out.lines().find_map(|line| line.trim().strip_prefix(label));
        let transactions = after("number of transactions actually processed: ")?;
        let transactions = transactions.split('/').next()?.parse().ok()?;
        let tps = after("tps = ")?.split_whitespace().next()?.parse().ok()?;
        Some(Figures { transactions, tps })
    }
}

/// By environment, so that arguments may still say otherwise.
fn at<'a>(command: &'a mut Command, door: &Door) -> &'a mut Command {
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", door.port.to_string())
        .env("PGUSER", &door.user)
        .env("PGDATABASE", &door.database)
        .env("PGPASSWORD", &door.password)
        .env("LC_ALL", "C")
}

/// Runs a program to its end, its input empty.
pub fn run(command: &mut Command) -> Result<Said, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let started = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.map_err(|error| Failure(format!("cannot run {program}: {error}")))?;
    // Both pipes are emptied all the while, so that the program never waits for us.
    let (out, err) = (listen(child.stdout.take()), listen(child.stderr.take()));
    let status = wait(&mut child, &program)?;
    let text = |heard: JoinHandle<io::Result<String>>| heard.join().unwrap_or_else(|_| Ok(String::new()));
    Ok(Said {
        out: text(out)?,
        err: text(err)?,
        status,
    })
}

fn listen(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<io::Result<String>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

fn wait(child: &mut Child, program: &str) -> Result<ExitStatus, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure(format!("{program} did not end within {PATIENCE:?}")));
        }
        sleep(Duration::from_millis(5));
    }
}

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_old_and_new_pgbench() {
        let new = "number of transactions actually processed: 200/200\nnumber of failed transactions: 0 (0.000%)\n\
                   latency average = 1.1 ms\ntps = 941.5 (without initial connection time)\n";
        let old = "number of transactions actually processed: 200/200\ntps = 941.5 (including connections establishing)\n\
                   tps = 990.0 (excluding connections establishing)\n";
        let expected = Figures {
            transactions: 200,
            tps: 941.5,
        };
        assert_eq!(Figures::read(new).as_ref(), Some(&expected));
        assert_eq!(Figures::read(old).as_ref(), Some(&expected));
        assert_eq!(Figures::read(""), None);
    }
}
