//! Keeps the tests' shared PostgreSQL for as long as its standard input is open. Says where it is in one line.

use std::io::{Read, Write};

use pgshunt::cli::demo::cluster::Plan;
use pgshunt_tests::cluster::{Cluster, private};

fn main() -> std::io::Result<()> {
    let node = private(&Plan::default());
    println!("{}", Cluster::of(&node).address());
    std::io::stdout().flush()?;
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).map(drop)
}
