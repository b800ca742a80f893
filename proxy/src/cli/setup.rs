//! `pgshunt setup`: the role pgshunt needs on the servers, with the least rights, as SQL or applied. Running it again
//! changes nothing.

use std::num::NonZeroU32;
use std::process::ExitCode;

use ring::rand::{SecureRandom, SystemRandom};

use super::{counted, refuse, twophase};
use crate::app::build;
use crate::config::{self, Mistake, Overrides};
use crate::protocol::auth::verifier::Verifier;
use crate::server::address::Target;
use crate::server::ask::Asker;
use crate::snapshot::{Control, Snapshot};

/// Make the role pgshunt itself uses on the servers: it may watch them and look up password verifiers, nothing else.
///
/// Makes the role pgshunt, a schema pgshunt with one function in it, and grants pg_monitor. Connects as a superuser,
/// in one transaction; running it again changes nothing.
#[derive(clap::Args)]
#[command(after_help = MORE)]
pub(super) struct Args {
    /// A superuser's connection string to the servers; once more for each further shard
    ///
    /// The first one's password verifiers are copied to the others: a client's proof is good at every shard only
    /// where all of them store the same verifier.
    #[arg(
        long,
        value_name = "DSN",
        required_unless_present = "print",
        verbatim_doc_comment
    )]
    to: Vec<String>,

    /// Also what transactions that write on several shards need; so it is with more than one --to
    #[arg(long)]
    shards: bool,

    /// Only show the SQL; connects to nothing
    #[arg(long)]
    print: bool,
}

const MORE: &str = "\
Environment:
  PGSHUNT_CONTROL_PASSWORD   the password the role shall have; without it, its password stays as it is
  PGUSER, PGPASSWORD         role and password that a connection string leaves out";

/// Prints or applies.
pub(super) fn run(args: &Args) -> ExitCode {
    let wanted = std::env::var("PGSHUNT_CONTROL_PASSWORD").ok();
    let sql = match wanted
        .filter(|password| !password.is_empty())
        .map(|p| verifier(&p))
    {
        Some(Ok(verifier)) => script(Some(&verifier)),
        Some(Err(fault)) => return failed("password", &fault),
        None => script(None),
    };
    if args.print {
        println!("{sql}");
        if args.shards {
            println!(";\n{}", twophase::script());
        }
        return ExitCode::SUCCESS;
    }
    let shards: Result<Vec<Snapshot>, Vec<Mistake>> = args
        .to
        .iter()
        .map(|dsn| config::from_dsn(dsn, &Overrides::default()))
        .collect();
    let shards = match shards {
        Ok(shards) => shards,
        Err(mistakes) => return refuse(&mistakes),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let applied = match runtime {
        Ok(runtime) => runtime.block_on(apply(&shards, &sql, args.shards || shards.len() > 1)),
        Err(error) => Err(("this machine".into(), error.to_string())),
    };
    match applied {
        Ok(()) => ExitCode::SUCCESS,
        Err((place, fault)) => failed(&place, &fault),
    }
}

fn failed(place: &str, fault: &str) -> ExitCode {
    eprintln!("{place}: {fault}");
    ExitCode::FAILURE
}

/// What PostgreSQL stores of a password.
fn verifier(password: &str) -> Result<String, String> {
    let mut salt = vec![0; 16];
    let filled = SystemRandom::new().fill(&mut salt);
    filled.map_err(|_| "the system gives no random bytes".to_owned())?;
    const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");
    Ok(Verifier::from_password(password, salt, ITERATIONS).to_text())
}

/// One statement, so that all of it happens or nothing.
fn script(verifier: Option<&str>) -> String {
    let password = verifier.map(|verifier| {
        // Base64, `$` and `:`: nothing in it ends a literal.
        format!("    ALTER ROLE pgshunt PASSWORD '{verifier}';\n")
    });
    format!(
        "{ROLE}{}{RIGHTS}{FUNCTION}\nEND\n$setup$",
        password.unwrap_or_default()
    )
}

const ROLE: &str = "\
DO $setup$
BEGIN
    -- One setup at a time, whatever its database: roles are the whole cluster's, as is this lock.
    LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pgshunt') THEN
        CREATE ROLE pgshunt LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
        COMMENT ON ROLE pgshunt IS 'pgshunt itself: probes, replication lag, password verifiers by function';
    END IF;
";

const RIGHTS: &str = "\
    -- Sees every session and the replication state, but no row of a table.
    GRANT pg_monitor TO pgshunt;
    EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO pgshunt', pg_catalog.current_database());

";

/// The same file an operator can run by hand.
const FUNCTION: &str = include_str!("../../../deploy/postgres/control.sql");

/// Each shard in turn; then the first one's verifiers on all others.
async fn apply(shards: &[Snapshot], sql: &str, spans: bool) -> Result<(), (String, String)> {
    let mut first: Option<Vec<Known>> = None;
    for shard in shards {
        let (place, mut asker, control) = primary(shard).await?;
        let at_place = |fault: String| (place.clone(), fault);
        asker
            .ask(sql, &[])
            .await
            .map_err(|error| at_place(error.to_string()))?;
        println!(
            "{place}: role pgshunt, function pgshunt.verifier_of in database {}",
            control.dbname
        );
        if has_more_rights(&mut asker).await.map_err(at_place)? {
            println!("{place}: role pgshunt has more rights than it needs: see \\du pgshunt");
        }
        if spans {
            for line in twophase::set_up(&mut asker).await.map_err(at_place)? {
                println!("{place}: {line}");
            }
        }
        if shards.len() == 1 {
            println!(
                "next: control = \"postgres://pgshunt@/{}\" in [[database]]",
                control.dbname
            );
            return Ok(());
        }
        let known = verifiers(&mut asker).await.map_err(at_place)?;
        match &first {
            None => first = Some(known),
            Some(first) => {
                let report = make_equal(&mut asker, first, &known).await.map_err(at_place)?;
                println!("{place}: {report}");
            }
        }
    }
    Ok(())
}

/// The first of the servers that takes writes.
async fn primary(shard: &Snapshot) -> Result<(String, Asker, Control), (String, String)> {
    let place = |text: &dyn std::fmt::Display| text.to_string();
    let targets = build::targets(shard).map_err(|fault| (place(&"TLS"), fault.to_string()))?;
    let database = shard.databases.first();
    let control = database.and_then(|database| database.control.clone());
    let targets = targets.into_values().flatten().next();
    let (Some(control), Some(servers)) = (control, targets) else {
        return Err((place(&"--to"), "names no server".into()));
    };
    let mut last = (place(&"--to"), "no server there takes writes".to_owned());
    for target in servers.targets {
        match writable(&target, &control).await {
            Ok(Some(asker)) => return Ok((target.address.to_string(), asker, control)),
            Ok(None) => {}
            Err(fault) => last = (target.address.to_string(), fault),
        }
    }
    Err(last)
}

/// A connection as the control role, for questions.
pub(super) async fn control_asker(target: &Target, control: &Control) -> Result<Asker, String> {
    let target = Target {
        dbname: control.dbname.clone(),
        ..target.clone()
    };
    let search_path = (b"search_path".to_vec(), b"pg_catalog, pg_temp".to_vec());
    let asker = Asker::connect(&target, &control.user, &control.secret(), &[search_path]).await;
    asker.map_err(|fault| fault.to_string())
}

/// The same, if the server takes writes.
pub(super) async fn writable(target: &Target, control: &Control) -> Result<Option<Asker>, String> {
    let mut asker = control_asker(target, control).await?;
    let standby = asker.ask("SELECT pg_catalog.pg_is_in_recovery()", &[]).await;
    let standby = standby.map_err(|fault| fault.to_string())?;
    Ok((text(&standby) != Some("t".into())).then_some(asker))
}

/// The one value of an answer.
fn text(rows: &[Vec<Option<Vec<u8>>>]) -> Option<String> {
    let value = rows.first()?.first()?.as_ref()?;
    Some(String::from_utf8_lossy(value).into_owned())
}

async fn has_more_rights(asker: &mut Asker) -> Result<bool, String> {
    let sql = "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls \
               FROM pg_catalog.pg_roles WHERE rolname = 'pgshunt'";
    let rows = asker.ask(sql, &[]).await.map_err(|error| error.to_string())?;
    Ok(text(&rows) == Some("t".into()))
}

/// A role and its verifier, if it has one.
type Known = (String, Option<String>);

/// Every role that may log in, but superusers: `pgshunt.verifier_of` does not show those.
async fn verifiers(asker: &mut Asker) -> Result<Vec<Known>, String> {
    let sql = "SELECT rolname, rolpassword FROM pg_catalog.pg_authid \
               WHERE rolcanlogin AND NOT rolsuper ORDER BY rolname";
    let rows = asker.ask(sql, &[]).await.map_err(|error| error.to_string())?;
    let text = |value: Option<Vec<u8>>| value.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut values = row.into_iter();
            Some((text(values.next()?)?, text(values.next()?)))
        })
        .collect())
}

async fn make_equal(asker: &mut Asker, first: &[Known], here: &[Known]) -> Result<String, String> {
    let (mut copied, mut missing) = (0, Vec::new());
    for (name, verifier) in first {
        let Some(verifier) = verifier else { continue };
        match here.iter().find(|(known, _)| known == name) {
            None => missing.push(name.as_str()),
            Some((_, known)) if known.as_ref() == Some(verifier) => {}
            Some(_) => {
                let ask = asker.ask(QUOTED, &[Some(name), Some(verifier)]).await;
                let quoted = text(&ask.map_err(|error| error.to_string())?).unwrap_or_default();
                let altered = asker.ask(&quoted, &[]).await;
                altered.map_err(|error| format!("role {name}: {error}"))?;
                copied += 1;
            }
        }
    }
    let missing = match missing.is_empty() {
        true => String::new(),
        false => format!("; not there: {}", missing.join(", ")),
    };
    Ok(format!("{} copied{missing}", counted(copied, "verifier")))
}

/// PostgreSQL itself quotes what it shall run: in turn with other setups, who may be altering the same role.
const QUOTED: &str = "SELECT pg_catalog.format('DO %L', pg_catalog.format(\
    'BEGIN LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE; ALTER ROLE %I PASSWORD %L; END', \
    $1::pg_catalog.text, $2::pg_catalog.text))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_statement_with_a_verifier_and_no_password() {
        let verifier = verifier("hunter2").expect("randomness");
        let sql = script(Some(&verifier));
        assert!(sql.contains("ALTER ROLE pgshunt PASSWORD 'SCRAM-SHA-256$4096:"));
        assert!(!sql.contains("hunter2"));
        assert_eq!(sql.matches("$setup$").count(), 2);
        assert!(!script(None).contains("ALTER ROLE"));
    }
}
