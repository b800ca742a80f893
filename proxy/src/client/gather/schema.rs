//! The tables of a database as a transaction sees them that has changed the schema: nobody else can.

use std::rc::Rc;
use std::sync::Arc;

use super::{Gather, Halt};
use crate::catalog::{Found, tables};
use crate::client::route::readings::Remembered;
use crate::fault::Fault;
use crate::protocol::message::row_values;
use crate::protocol::sqlstate;
use crate::server::ask::Row;

/// The tables, and what reads texts by them.
pub(super) type View = (Arc<Found>, Rc<Remembered>);

/// A transaction's own view of the schema.
#[derive(Default)]
pub(super) struct Changed {
    /// It has changed the schema.
    has_changed: bool,
    /// As it is since the last change.
    view: Option<View>,
}

impl Changed {
    /// The schema was changed.
    pub(super) fn change(&mut self) {
        self.has_changed = true;
        self.view = None;
    }

    /// What was changed may have been taken back.
    pub(super) fn doubt(&mut self) {
        self.view = None;
    }
}

impl Gather {
    /// The tables as the next statement sees them, and what reads texts by them.
    pub(super) async fn view(&mut self) -> Result<View, Halt> {
        let changed = self.block.as_ref().map(|block| &block.changed);
        // A failed transaction answers no questions, and runs nothing but its end.
        let changed = changed.filter(|changed| changed.has_changed && self.status != b'E');
        if let Some(view) = changed.and_then(|changed| changed.view.clone()) {
            return Ok(view);
        }
        let at = changed.and_then(|_| self.first_in_block());
        let Some(at) = at else {
            return Ok((self.found().await?, self.terms.readings.clone()));
        };
        let found = Arc::new(Found::of_transaction(self.tables_of(at).await?));
        let view = (found, Rc::new(self.terms.readings.apart()));
        if let Some(block) = &mut self.block {
            block.changed.view = Some(view.clone());
        }
        Ok(view)
    }

    /// A shard's tables, within its transaction.
    async fn tables_of(&mut self, at: usize) -> Result<routing_rules::Tables, Halt> {
        // Whatever the session's own operators are.
        let text = format!(
            "SAVEPOINT pgshunt_tables; SET LOCAL search_path = pg_catalog, pg_temp; {}; ROLLBACK TO pgshunt_tables; \
             RELEASE pgshunt_tables",
            tables::whole_query()
        );
        self.keeps_position = false;
        let rows = self.ask(&[at], text.as_bytes()).await?;
        let row = |(_, body): &(usize, Vec<u8>)| -> Row {
            row_values(body).map(|value| value.map(<[u8]>::to_vec)).collect()
        };
        let rows: Vec<Row> = rows.iter().map(row).collect();
        self.keeps_position = true;
        tables::of_rows(&rows).ok_or_else(unseen)
    }
}

fn unseen() -> Halt {
    let text = "the transaction's own tables could not be looked up";
    Halt::of(&Fault::error(sqlstate::INTERNAL, text))
}
