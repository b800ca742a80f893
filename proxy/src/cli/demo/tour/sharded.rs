//! Tenants on two shards: each statement on its tenant's, reports over both, and what is refused.

use super::super::Failure;
use super::super::shards::Shards;
use super::super::stage::Stage;
use super::super::wire::Client;
use super::{Promise, Subject, ensure, grouped};

pub(super) const SUBJECT: Subject = Subject {
    title: "Tenants on two shards",
    promises: &[
        Promise {
            words: "Two tenants are on two shards, and each one's statements go there",
            show: |stage| two_tenants(stage.shards()?),
        },
        Promise {
            words: "A report over all tenants is the sum of the shards, and that of one PostgreSQL",
            show: report,
        },
        Promise {
            words: "What shards can't answer together is refused, with the reason",
            show: |stage| refused(stage.shards()?),
        },
    ],
};

const TOTAL: &str = "SELECT count(*), sum(amount) FROM fact_order";

const REPORT: &str = "SELECT date_trunc('month', order_date)::date, count(*), sum(amount), avg(amount), max(quantity) \
    FROM fact_order WHERE status <> 'cancelled' GROUP BY 1 ORDER BY 1";

const REFUSED: &str = "SELECT count(*) FROM fact_order a JOIN fact_order b ON a.customer_id = b.customer_id AND a.note = b.note";

fn tenant(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The shard of the last statement.
fn last_shard(client: &mut Client) -> Result<String, Failure> {
    let rows = client.query("SHOW pgshunt.last_route")?.rows;
    let shard = rows.first().and_then(|row| row.get(1));
    shard
        .cloned()
        .ok_or_else(|| Failure(format!("SHOW pgshunt.last_route: {rows:?}")))
}

fn two_tenants(shards: &mut Shards) -> Result<String, Failure> {
    let mut client = shards.client()?;
    let (mut said, mut seen) = (Vec::new(), [false; 2]);
    for number in 1..=20 {
        let tenant = tenant(number);
        let count = format!("SELECT count(*) FROM fact_order WHERE tenant_id = '{tenant}'");
        let through = client.value(&count)?;
        let shard = last_shard(&mut client)?;
        let at = usize::from(shard == "s1");
        if seen[at] {
            continue;
        }
        seen[at] = true;
        let (own, other) = (
            shards.direct(at)?.value(&count)?,
            shards.direct(1 - at)?.value(&count)?,
        );
        ensure(own == through && other == "0" && own != "0", || {
            format!(
                "tenant {number}: {through} orders through pgshunt, {own} on {shard}, {other} on the other"
            )
        })?;
        said.push(format!("tenant {number}: {own} orders, all of them on {shard}"));
    }
    ensure(seen == [true; 2], || {
        format!("twenty tenants on one shard: {said:?}")
    })?;
    Ok(said.join("; "))
}

fn report(stage: &mut Stage) -> Result<String, Failure> {
    let mut whole = stage.superuser(&stage.primary)?;
    let shards = stage.shards()?;
    let mut client = shards.client()?;
    let (mut count, mut cents) = (0, 0);
    let mut parts = Vec::new();
    for number in 0..2 {
        let rows = shards.direct(number)?.query(TOTAL)?.rows;
        let (own_count, own_cents) = totals(&rows)?;
        parts.push(format!("{} on s{number}", grouped(own_count)));
        count += own_count;
        cents += own_cents;
    }
    let all = totals(&client.query(TOTAL)?.rows)?;
    ensure(all == (count, cents), || {
        format!("{all:?} over both, {:?} put together", (count, cents))
    })?;
    let (together, alone) = (client.query(REPORT)?.rows, whole.query(REPORT)?.rows);
    ensure(together == alone, || {
        format!("two shards: {together:?}\none PostgreSQL: {alone:?}")
    })?;
    Ok(format!(
        "{} orders: {}; {} months with count, sum, avg and max, the same as from one PostgreSQL",
        grouped(count),
        parts.join(" and "),
        together.len()
    ))
}

/// Orders, and cents.
fn totals(rows: &[Vec<String>]) -> Result<(u64, u64), Failure> {
    let Some([count, sum]) = rows.first().map(Vec::as_slice) else {
        return Err(Failure(format!("no total: {rows:?}")));
    };
    Ok((count.parse()?, sum.replace('.', "").parse()?))
}

fn refused(shards: &mut Shards) -> Result<String, Failure> {
    let mut client = shards.client()?;
    match client.query(REFUSED) {
        Ok(answer) => Err(Failure(format!("it was answered: {:?}", answer.rows))),
        Err(refusal) if refusal.code().as_deref() == Some("0A000") => Ok(format!("{REFUSED}\n{refusal}")),
        Err(other) => Err(other.into()),
    }
}
