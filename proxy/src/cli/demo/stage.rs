//! What the demo and the tour stand on: a primary with BMOS in it, a replica, pgshunt in front; built step by step, with a
//! line for each, and taken down when dropped.

use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use ring::rand::{SecureRandom, SystemRandom};

use super::cluster::{Installation, Node, Plan, Scratch, Template};
use super::interrupt::Interrupt;
use super::programs;
use super::proxy::{self, Proxy};
use super::shards::Shards;
use super::spare::Spare;
use super::wire::{Client, Door};
use super::{Ended, Failure};

/// Everything that runs. Fields are in the order in which they stop.
pub struct Stage {
    /// pgshunt.
    pub proxy: Proxy,
    /// A shard to be broken, once somebody has needed one.
    pub spare: Option<Spare>,
    /// Two shards, once somebody has needed them.
    pub shards: Option<Shards>,
    /// The replica.
    pub replica: Node,
    /// The primary.
    pub primary: Node,
    /// Their folder.
    pub scratch: Arc<Scratch>,
    /// The programs they are made of.
    pub installation: Installation,
}

/// Servers in the pools of most roles.
pub const POOL: usize = 10;

/// Servers in the pool of [`TOURIST`], so few that its clients have to share them.
pub const FEW: usize = 2;

/// The role whose clients share few servers; it may act as the application and as the reports.
pub const TOURIST: &str = "bmos_tour";

/// The application's role.
pub const APPLICATION: &str = "bmos_app";

/// The role that may use the console.
pub const OPERATOR: &str = "ops";

/// The password of every role but the superuser's and pgshunt's own.
pub const PASSWORD: &str = "demo";

impl Stage {
    /// Builds it all.
    pub fn build(interrupt: &Interrupt, keep_dir: bool) -> Result<Stage, Ended> {
        let steps = Steps { interrupt };
        let installation = steps.step("PostgreSQL", || {
            let found = Installation::find()?;
            let said = format!("version {} in {}", found.major(), found.bin().display());
            Ok((found, said))
        })?;
        let scratch = steps.step("folder", || scratch(keep_dir))?;
        let secret = secret()?;
        let primary = steps.step("primary", || primary(&installation, &scratch, &secret))?;
        steps.step("BMOS schema", || {
            schema(&installation, &primary, &scratch, &secret)
        })?;
        steps.step("sample rows", || sample(&installation, &primary, &scratch))?;
        let replica = steps.step("replica", || replica(&primary))?;
        let proxy = steps.step("pgshunt", || front(&scratch, &primary, &replica, &secret))?;
        Ok(Stage {
            proxy,
            spare: None,
            shards: None,
            replica,
            primary,
            scratch,
            installation,
        })
    }

    /// The shard to be broken, made at its first use: so nothing else that is shown is disturbed.
    pub fn spare(&mut self) -> Result<&mut Spare, Failure> {
        if self.spare.is_none() {
            self.spare = Some(Spare::build(&self.primary, &self.scratch)?);
        }
        let built = self.spare.as_mut();
        built.ok_or_else(|| Failure("there is no spare shard".into()))
    }

    /// The two shards, made at their first use.
    pub fn shards(&mut self) -> Result<&mut Shards, Failure> {
        if self.shards.is_none() {
            self.shards = Some(Shards::build(&self.primary, &self.scratch)?);
        }
        let built = self.shards.as_mut();
        built.ok_or_else(|| Failure("there are no shards".into()))
    }

    /// Through pgshunt, as a role of the demo.
    pub fn through(&self, user: &str) -> Door {
        door(self.proxy.clients, user)
    }

    /// A client of pgshunt.
    pub fn client(&self, user: &str) -> Result<Client, Failure> {
        Ok(Client::connect(&self.through(user))?)
    }

    /// Straight to the primary, as a role of the demo.
    pub fn direct(&self, user: &str) -> Door {
        door(self.primary.port(), user)
    }

    /// The superuser, past pgshunt: it sees from outside what pgshunt does inside.
    pub fn superuser(&self, node: &Node) -> Result<Client, Failure> {
        let password = node.password().to_owned();
        let door = Door {
            password,
            ..door(node.port(), super::cluster::SUPERUSER)
        };
        Ok(Client::connect(&door)?)
    }
}

/// Runs steps in turn, with a line for each, until one fails or somebody asks for the end.
struct Steps<'a> {
    interrupt: &'a Interrupt,
}

impl Steps<'_> {
    fn step<T>(&self, name: &str, act: impl FnOnce() -> Result<(T, String), Failure>) -> Result<T, Ended> {
        print!("  {name:<13}");
        let _ = io::stdout().flush();
        let began = Instant::now();
        let result = act();
        if self.interrupt.is_raised() {
            println!("interrupted");
            return Err(Ended::Interrupted);
        }
        match result {
            Ok((made, said)) => {
                println!("{said}  ({:.1?})", began.elapsed());
                Ok(made)
            }
            Err(failure) => {
                println!("failed");
                Err(Ended::Failed(Failure(format!("{name}: {failure}"))))
            }
        }
    }
}

/// A door of the demo's database.
pub fn door(port: u16, user: &str) -> Door {
    Door {
        port,
        user: user.into(),
        password: PASSWORD.into(),
        database: DATABASE.into(),
    }
}

fn scratch(keep_dir: bool) -> Result<(Arc<Scratch>, String), Failure> {
    let mut scratch = Scratch::new("demo")?;
    if keep_dir {
        scratch.keep();
    }
    let said = scratch.path().display().to_string();
    Ok((Arc::new(scratch), said))
}

fn primary(
    installation: &Installation,
    scratch: &Arc<Scratch>,
    secret: &str,
) -> Result<(Node, String), Failure> {
    let template = Template::at(installation, &scratch.path().join("template"), secret)?;
    let plan = Plan {
        name: "primary",
        settings: &[("wal_level", "logical"), ("max_wal_size", "512MB")],
        hba: &[],
    };
    let node = Node::primary(scratch, &template, &plan)?;
    let said = format!("on 127.0.0.1:{}", node.port());
    Ok((node, said))
}

fn schema(
    installation: &Installation,
    primary: &Node,
    scratch: &Scratch,
    secret: &str,
) -> Result<((), String), Failure> {
    let superuser = Door {
        port: primary.port(),
        user: super::cluster::SUPERUSER.into(),
        password: primary.password().into(),
        database: "postgres".into(),
    };
    let bmos = Door {
        database: DATABASE.into(),
        ..superuser.clone()
    };
    apply(installation, &superuser, scratch, ("roles.sql", ROLES))?;
    let demo_roles = format!(
        "CREATE ROLE {TOURIST} LOGIN; CREATE ROLE {OPERATOR} LOGIN; GRANT {APPLICATION}, bmos_report TO {TOURIST}; \
         ALTER ROLE pgshunt PASSWORD '{secret}';"
    );
    let mut client = Client::connect(&superuser)?;
    client.query(&demo_roles)?;
    for role in ["bmos_owner", APPLICATION, "bmos_report", TOURIST, OPERATOR] {
        client.query(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'"))?;
    }
    client.query(&format!("CREATE DATABASE {DATABASE} OWNER bmos_owner"))?;
    apply(installation, &bmos, scratch, ("control.sql", CONTROL))?;
    apply(
        installation,
        &door(primary.port(), "bmos_owner"),
        scratch,
        ("schema.sql", SCHEMA),
    )?;
    let tables =
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')";
    let tables = Client::connect(&bmos)?.value(tables)?;
    Ok((
        (),
        format!("{tables} tables and partitions in database {DATABASE}"),
    ))
}

fn sample(installation: &Installation, primary: &Node, scratch: &Scratch) -> Result<((), String), Failure> {
    let owner = door(primary.port(), "bmos_owner");
    apply(installation, &owner, scratch, ("sample.sql", SAMPLE))?;
    let count = "SELECT count(*) || ' orders of ' || count(DISTINCT tenant_id) || ' tenants' FROM fact_order";
    let said = Client::connect(&owner)?.value(count)?;
    Ok(((), said))
}

fn replica(primary: &Node) -> Result<(Node, String), Failure> {
    let plan = Plan {
        name: "replica",
        ..Plan::default()
    };
    let node = primary.replica(&plan)?;
    let said = format!("on 127.0.0.1:{}", node.port());
    Ok((node, said))
}

fn front(
    scratch: &Scratch,
    primary: &Node,
    replica: &Node,
    secret: &str,
) -> Result<(Proxy, String), Failure> {
    let plan = proxy::Plan {
        shards: &[&[primary.port(), replica.port()]],
        control_password: secret,
        size: POOL,
        small: (TOURIST, FEW),
    };
    let proxy = Proxy::start(scratch.path(), &plan, |port| door(port, APPLICATION))?;
    let said = format!("on 127.0.0.1:{}", proxy.clients);
    Ok((proxy, said))
}

fn apply(
    installation: &Installation,
    door: &Door,
    scratch: &Scratch,
    (name, text): (&str, &str),
) -> Result<(), Failure> {
    let file = scratch.path().join(name);
    fs::write(&file, text)?;
    let file = file.to_string_lossy();
    let ended = programs::psql(installation, door, &["-1", "-f", &file])?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(Failure(ended.err.trim().to_owned())),
    }
}

/// A password nobody can guess, for the roles that may do harm.
fn secret() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure("the system gives no random bytes".into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The database clients name.
pub const DATABASE: &str = "bmos";

const ROLES: &str = include_str!("../../../../deploy/postgres/roles.sql");
const CONTROL: &str = include_str!("../../../../deploy/postgres/control.sql");
const SCHEMA: &str = include_str!("../../../../deploy/postgres/schema.sql");
const SAMPLE: &str = include_str!("../../../../deploy/postgres/sample.sql");
