//! A question to a catalog whose answer may be long: it is asked page by page, in the order of OIDs. What the rows mean is who
//! asks to say.

use crate::server::ask::{AskFault, Asker, Row};

/// The most relations that are looked up.
pub(super) const TABLES_MAX: usize = 50_000;

/// Asks for all there is. The question's first parameter is the OID behind which a page begins, its second how many rows there may
/// be on one; `read` gives a row's OID and what it says, `None` if it is no such row.
///
/// # Errors
///
/// Why there was no answer, in words for the log.
pub(super) async fn all<T>(
    asker: &mut Asker,
    question: &str,
    page: usize,
    read: impl Fn(&Row) -> Option<(String, T)>,
) -> Result<Vec<T>, String> {
    let (mut all, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let rows = asker
            .ask(question, &[Some(&after), Some(&page.to_string())])
            .await;
        let rows = rows.map_err(told)?;
        for row in &rows {
            let (oid, one) = read(row).ok_or("an answer that makes no sense")?;
            after = oid;
            all.push(one);
        }
        if all.len() > TABLES_MAX {
            return Err(format!("it has more than {TABLES_MAX} tables"));
        }
        if rows.len() < page {
            return Ok(all);
        }
    }
}

/// A fault in words for the log.
pub(super) fn told(fault: AskFault) -> String {
    fault.to_string()
}
