//! Golden tables: what is written, and what is said about it.

use std::path::Path;

use super::*;

fn nobody() -> Environment {
    Environment {
        user: None,
        password: None,
        control_password: None,
        cpus: 4,
    }
}

#[test]
fn dump() {
    for text in [
        "[pool]\nsize = 20\nsizee = 3\nmode = \"transactoin\"\nquery_timeout = \"5m\"\npool_mode=\"x\"\nhttp=3\n\n[[database]]\nname = \"a\"\n\n[[database]]\nname = \"a\"\npool = { size = 0, min_size = 30 }\n[[database.shard]]\nservers = []\n[redis]\nurl=1\n",
        "[pool\nsize = \n x = \"abc\n[listen]\nclients = [\"a\n",
        "[pool]\n[pool]\nsize=1\nsize=2\n",
    ] {
        for mistake in check::snapshot(Path::new("pgshunt.toml"), text, &nobody()).unwrap_err() {
            println!("{mistake}");
        }
        println!("----");
    }
}
