//! Aggregates, groups and DISTINCT: the shards' partial results become arrays, and one statement over them makes the answer on
//! one shard. Nothing is computed here.

use routing_rules::{Finish, Pieces, WrongType};

use super::rows::too_much;
use super::run::Job;
use super::statement::{self, Told};
use super::{Gather, Halt};
use crate::fault::Fault;
use crate::protocol::merge::arrays::Arrays;
use crate::protocol::merge::order;
use crate::protocol::merge::rows::{Description, Formats};
use crate::protocol::message::row_values;
use crate::protocol::{reply, sqlstate};

impl Gather {
    /// Collects partial results and has the first of these shards finish them.
    pub(super) async fn finished(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        finish: &Finish,
        pieces: &Pieces<'_>,
    ) -> Result<Vec<u8>, Halt> {
        let leader = on[0];
        let types = job.statement.types_for_shards();
        self.keeps_position = false;
        let is_told = job.statement.told.borrow().is_some();
        let text = finish.shard.render(pieces);
        let messages = job.bound.messages(text.as_bytes(), &types, &Formats(vec![1]));
        for &at in on {
            if at == leader && !is_told {
                // Names and types of columns are those of the statement itself.
                let question = statement::describe(&job.statement.text, &types);
                self.send(at, &question, 1).await?;
            }
            self.send(at, &messages, 1).await?;
        }
        let (partial, arrays) = self
            .partials(on, job, is_told, (finish.columns, finish.ships.is_some()))
            .await?;
        let oids: Vec<u32> = partial.columns.iter().map(|column| column.type_oid).collect();
        let names = self.type_names(leader, &oids).await?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let last = finish.last(pieces, &names).map_err(|wrong| {
            Halt::refused(match wrong {
                WrongType::Array => "groups or extremes of arrays over several shards",
                WrongType::Float => {
                    "stddev() and variance() of floating point over several shards: cast it to numeric"
                }
                WrongType::Real => "avg(real) over several shards: cast it to double precision",
            })
        })?;
        let question = last_messages(&last, job, finish, &oids, &arrays);
        drop(arrays);
        self.send(leader, &question, 1).await?;
        self.last_rows(leader, job).await
    }

    /// The shards' partial results.
    async fn partials(
        &mut self,
        on: &[usize],
        job: Job<'_>,
        is_told: bool,
        (columns, ships): (usize, bool),
    ) -> Result<(Description, Arrays), Halt> {
        let mut arrays = Arrays::new(columns, self.terms.merge_memory);
        let mut first: Option<Description> = None;
        let mut told = (!is_told).then(Told::default);
        let mut among = on.to_vec();
        while let Some((at, header)) = self.next(&mut among).await? {
            let owes = self.parts[at].as_ref().map_or(0, |part| part.owes);
            if owes > 1
                && let (Some(told), Some(part)) = (&mut told, &self.parts[at])
            {
                told.note(header.kind, part.body(header));
                self.consume(at, header);
                continue;
            }
            match header.kind {
                b'T' => {
                    let description = self.description(at, header)?;
                    let fits = first.as_ref().is_none_or(|first| first.fits(&description));
                    if !fits || description.columns.len() != columns {
                        return Err(self.unlike(at));
                    }
                    // The OIDs that count are those of the shard that will read them.
                    if first.is_none() || at == on[0] {
                        first = Some(description);
                    }
                }
                b'D' => {
                    let body = self.parts[at].as_ref().map_or(&b""[..], |part| part.body(header));
                    if arrays.add(row_values(body)).is_err() {
                        return Err(match ships {
                            true => too_much(
                                "rows that shards give as they are take more than merge_memory",
                                "Ask for fewer of them, raise merge_memory, or configure a coordinator.",
                            ),
                            false => too_much(
                                "partial results of the shards take more than merge_memory",
                                "Group by less, or raise merge_memory.",
                            ),
                        });
                    }
                }
                _ => {}
            }
            self.consume(at, header);
        }
        if let Some(told) = told {
            *job.statement.told.borrow_mut() = Some(told);
        }
        let first = first.ok_or_else(|| self.unlike(on[0]))?;
        Ok((first, arrays))
    }

    /// The answer, in the statement's own names and types.
    async fn last_rows(&mut self, leader: usize, job: Job<'_>) -> Result<Vec<u8>, Halt> {
        let own = job
            .statement
            .told
            .borrow()
            .as_ref()
            .and_then(|told| told.rows.clone());
        let own = own.ok_or_else(|| self.unlike(leader))?;
        let mut among = vec![leader];
        let mut tag = Vec::new();
        while let Some((at, header)) = self.next(&mut among).await? {
            match header.kind {
                b'T' => {
                    let description = self.description(at, header)?;
                    if !own.fits(&description) {
                        let text = "an aggregate whose type is not known before its shards have answered";
                        return Err(Halt::refused(text));
                    }
                    if job.is_simple {
                        own.write(self.rows_out(), &Formats::default());
                    }
                }
                b'D' => {
                    let row = self.parts[at]
                        .as_ref()
                        .map_or_else(Vec::new, |part| part.whole(header).to_vec());
                    self.rows_out().extend_from_slice(&row);
                }
                b'C' => {
                    tag = self.parts[at]
                        .as_ref()
                        .map_or_else(Vec::new, |part| part.whole(header).to_vec())
                }
                _ => {}
            }
            self.consume(at, header);
            self.press().await?;
        }
        Ok(tag)
    }

    /// The SQL names of types on a shard.
    pub(super) async fn type_names(&mut self, at: usize, types: &[u32]) -> Result<Vec<String>, Halt> {
        let known: Vec<Option<&str>> = types.iter().map(|&oid| known_name(oid)).collect();
        if known.iter().all(Option::is_some) {
            return Ok(known.into_iter().flatten().map(str::to_owned).collect());
        }
        let list: Vec<String> = types.iter().map(u32::to_string).collect();
        let text = format!(
            "SELECT pg_catalog.format_type(o, NULL) FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) WITH ORDINALITY AS t(o, n) \
             ORDER BY n",
            list.join(",")
        );
        let rows = self.ask(&[at], text.as_bytes()).await?;
        let name = |(_, row): &(usize, Vec<u8>)| {
            let name = row_values(row).next().flatten().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        };
        let names: Vec<String> = rows.iter().map(name).collect();
        match names.len() == types.len() {
            true => Ok(known
                .into_iter()
                .zip(names)
                .map(|(known, name)| known.map_or(name, str::to_owned))
                .collect()),
            false => Err(Halt::of(&Fault::error(
                sqlstate::INTERNAL,
                "types could not be named",
            ))),
        }
    }
}

/// Parse, Bind, Describe, Execute and Sync of the last statement.
fn last_messages(last: &str, job: Job<'_>, finish: &Finish, oids: &[u32], arrays: &Arrays) -> Vec<u8> {
    let known = job.statement.types_for_shards();
    let place = |number: &u16| usize::from(*number).saturating_sub(1);
    let own = finish.parameters.iter().map(place);
    let mut types = vec![0; finish.columns];
    types.extend(own.clone().map(|place| known.get(place).copied().unwrap_or(0)));
    let values: Vec<(u16, Option<&[u8]>)> = own
        .map(|place| {
            let value = job.bound.values.get(place).and_then(Option::as_deref);
            (job.bound.formats.of(place), value)
        })
        .collect();
    let mut out = Vec::new();
    statement::write_parse(&mut out, last.as_bytes(), &types);
    arrays.bind(&mut out, oids, &values, &job.bound.results.0);
    reply::frame(&mut out, b'D', |out| out.extend_from_slice(b"P\0"));
    reply::frame(&mut out, b'E', |out| out.extend_from_slice(&[0; 5]));
    reply::frame(&mut out, b'S', |_| ());
    out
}

/// The names of the commonest types, as `format_type` writes them whatever the search path.
fn known_name(oid: u32) -> Option<&'static str> {
    Some(match oid {
        order::BOOL => "boolean",
        order::INT2 => "smallint",
        order::INT4 => "integer",
        order::INT8 => "bigint",
        order::FLOAT4 => "real",
        order::FLOAT8 => "double precision",
        order::NUMERIC => "numeric",
        order::TEXT => "pg_catalog.text",
        order::VARCHAR => "character varying",
        // By the names of the standard these two are one character, one bit long.
        order::BPCHAR => "pg_catalog.bpchar",
        order::BIT => "pg_catalog.\"bit\"",
        order::TIMESTAMP => "timestamp without time zone",
        order::TIMESTAMPTZ => "timestamp with time zone",
        _ => return None,
    })
}
