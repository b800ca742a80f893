//! Command tags of several shards as one: their numbers of rows added up.

/// The sum of these tags. `None`: they are of different commands.
pub fn sum<'a>(tags: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut total: Option<(&[u8], Option<u64>)> = None;
    for tag in tags {
        let (word, rows) = split(tag);
        total = Some(match total {
            None => (word, rows),
            Some((own, _)) if own != word => return None,
            Some((own, Some(before))) => (own, Some(before.saturating_add(rows.unwrap_or(0)))),
            Some((own, None)) => (own, rows),
        });
    }
    let (word, rows) = total?;
    let mut tag = word.to_vec();
    if let Some(rows) = rows {
        tag.extend_from_slice(format!(" {rows}").as_bytes());
    }
    Some(tag)
}

/// A tag's words and its number.
fn split(tag: &[u8]) -> (&[u8], Option<u64>) {
    let Some(at) = tag.iter().rposition(|&byte| byte == b' ') else {
        return (tag, None);
    };
    let rows = std::str::from_utf8(&tag[at + 1..])
        .ok()
        .and_then(|rows| rows.parse().ok());
    match rows {
        Some(rows) => (&tag[..at], Some(rows)),
        None => (tag, None),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_added_and_words_kept() {
        let sum = |tags: &[&str]| {
            let sum = super::sum(tags.iter().map(|tag| tag.as_bytes()));
            sum.map(|tag| String::from_utf8(tag).expect("ascii"))
        };
        assert_eq!(sum(&["SELECT 2", "SELECT 3"]).as_deref(), Some("SELECT 5"));
        assert_eq!(sum(&["INSERT 0 1", "INSERT 0 4"]).as_deref(), Some("INSERT 0 5"));
        assert_eq!(
            sum(&["CREATE TABLE", "CREATE TABLE"]).as_deref(),
            Some("CREATE TABLE")
        );
        assert_eq!(sum(&["UPDATE 1", "DELETE 1"]), None);
        assert_eq!(sum(&[]), None);
    }
}
