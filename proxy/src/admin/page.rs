//! The status page: what the lookout saw, for people with a browser. One file, no script, nothing from elsewhere.

use std::fmt::Write;
use std::time::SystemTime;

use super::lookout::Seen;
use super::show::Show;
use super::table::{Cell, Column, Row};
use crate::metrics::PoolRow;

/// Rows of a table that are shown; the console has all.
const ROWS_MAX: usize = 200;

/// The page. `reasons` says why not everything can be served.
pub fn html(seen: &Seen, reasons: &[String]) -> String {
    let mut out = String::from(HEAD);
    let pools = &seen.census.pools;
    let sum = |count: fn(&PoolRow) -> u64| pools.iter().map(count).sum::<u64>();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<h1>pgshunt <small>{} · up {}</small></h1>",
        env!("CARGO_PKG_VERSION"),
        uptime(seen.started)
    );
    state(&mut out, seen, reasons);
    out.push_str("<ul class=tiles>");
    let rates = &seen.rates.together;
    for (what, number) in [
        ("clients", sum(PoolRow::clients)),
        ("waiting", sum(|pool| pool.cl_waiting)),
        ("servers busy", sum(|pool| pool.sv_active)),
        ("servers idle", sum(|pool| pool.sv_idle)),
        ("pinned", seen.census.pins.len() as u64),
        ("queries/s", rates[2]),
        ("transactions/s", rates[1]),
        ("µs per query", rates[6]),
    ] {
        let _ = write!(out, "<li><b>{number}</b>{what}");
    }
    out.push_str("</ul>\n");
    for show in [Show::Pools, Show::Databases, Show::Pins, Show::Servers] {
        let _ = writeln!(
            out,
            "<h2>{} <small>{}</small></h2>",
            show.word(),
            escaped(show.about())
        );
        table(&mut out, show.columns(), &show.rows(seen));
    }
    out.push_str(FOOT);
    out
}

fn state(out: &mut String, seen: &Seen, reasons: &[String]) {
    if reasons.is_empty() && !seen.stopping {
        out.push_str("<p class=good>Ready.</p>\n");
        return;
    }
    out.push_str("<p class=bad>Not ready.</p>\n<ul>");
    for reason in reasons {
        let _ = write!(out, "<li>{}", escaped(reason));
    }
    out.push_str("</ul>\n");
}

/// Columns that are empty or 0 in every row are left out: they are there for tools.
fn table(out: &mut String, columns: &[Column], rows: &[Row]) {
    if rows.is_empty() {
        out.push_str("<p>none</p>\n");
        return;
    }
    let says_something = |place: usize| {
        let mut texts = rows.iter().map(|row| text(&row[place]));
        texts.any(|text| !matches!(&text[..], "" | "0"))
    };
    let shown: Vec<usize> = (0..columns.len())
        .filter(|&place| says_something(place))
        .collect();
    out.push_str("<div><table><tr>");
    for &place in &shown {
        let _ = write!(out, "<th>{}", escaped(columns[place].name));
    }
    for row in rows.iter().take(ROWS_MAX) {
        out.push_str("\n<tr>");
        for &place in &shown {
            let class = match row[place] {
                Cell::Count(_) => " class=n",
                Cell::Null | Cell::Text(_) => "",
            };
            let _ = write!(out, "<td{class}>{}", escaped(&text(&row[place])));
        }
    }
    out.push_str("</table></div>\n");
    if rows.len() > ROWS_MAX {
        let _ = writeln!(out, "<p>… and {} more</p>", rows.len() - ROWS_MAX);
    }
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Text(text) => text.to_string(),
        Cell::Count(count) => count.to_string(),
    }
}

/// Names and application names come from clients: nothing of them may become markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn uptime(started: SystemTime) -> String {
    let seconds = started.elapsed().unwrap_or_default().as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

const HEAD: &str = "<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta http-equiv=refresh content=5>
<meta name=viewport content=\"width=device-width\">
<title>pgshunt</title>
<style>
:root{color-scheme:light dark;--line:#8884;--soft:#888}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1rem;margin:2rem 0 .5rem}small{color:var(--soft);font-weight:normal}
.good{color:#28854a}.bad{color:#c0392b;font-weight:bold}
.tiles{display:flex;flex-wrap:wrap;gap:.75rem;list-style:none;padding:0}
.tiles li{border:1px solid var(--line);border-radius:.5rem;padding:.5rem 1rem;min-width:6rem;color:var(--soft)}
.tiles b{display:block;font-size:1.4rem;color:CanvasText}
div{overflow-x:auto}table{border-collapse:collapse;font-size:13px;white-space:nowrap}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:left}
th{color:var(--soft);font-weight:normal}.n{text-align:right;font-variant-numeric:tabular-nums}
</style>
";

const FOOT: &str = "<p><small>Every 5 seconds anew. More at the console (SHOW HELP) and at <a href=/metrics>/metrics</a>.</small>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_client_says_becomes_markup() {
        let hostile = "<script>alert('1')</script>&\"";
        let mut out = String::new();
        let columns = [crate::admin::table::text("application_name")];
        table(&mut out, &columns, &[vec![hostile.to_owned().into()]]);
        assert!(!out.contains("<script"), "{out}");
        assert!(
            out.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"),
            "{out}"
        );
    }

    #[test]
    fn long_tables_are_cut() {
        let mut out = String::new();
        let columns = [crate::admin::table::int("n")];
        let rows: Vec<Row> = (1..ROWS_MAX + 6).map(|n| vec![n.into()]).collect();
        table(&mut out, &columns, &rows);
        assert_eq!(out.matches("<tr>").count(), ROWS_MAX + 1);
        assert!(out.contains("and 5 more"));
    }
}
