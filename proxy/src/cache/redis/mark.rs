//! Up to where every change has been heard of and told: what lets a pgshunt that begins believe what lies in Redis, in place
//! of making all of it old. Pure but for a lock.
//!
//! INVARIANT: a mark in Redis means that of each transaction that was committed up to its position, and of each change of
//! rights and definitions before its sum, Redis was told after it was visible; or that no answer there is from before.

use std::sync::{Mutex, MutexGuard};

use super::sealed::Seal;
use crate::cluster::lag::Lsn;

/// Up to where all has been heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The timeline of the primary's WAL.
    pub timeline: String,
    /// The position in it.
    pub heard: Lsn,
    /// The sum of rights and definitions.
    pub sum: Vec<u8>,
}

/// A mark as it lies in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    timeline: String,
    heard: Lsn,
    /// The tally of who says so, and where it lies.
    pub(super) count: i64,
    pub(super) field: String,
    sum: String,
}

/// What one cache has heard, and whether it still may go on from what others have told.
#[derive(Debug, Default)]
pub struct Marks(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// It may not, or does already: from here on whoever begins to hear anew makes all old.
    is_settled: bool,
    has_streamed: bool,
    stream: Option<Stream>,
    sum: Option<Vec<u8>>,
}

/// The stream of this moment.
#[derive(Debug)]
struct Stream {
    timeline: String,
    /// It tells of everything that was committed from here on.
    from: Lsn,
    heard: Lsn,
}

impl Marks {
    /// Of a cache that may go on from others' marks, or may not.
    pub fn new(may_join: bool) -> Self {
        Marks(Mutex::new(Known {
            is_settled: !may_join,
            ..Known::default()
        }))
    }

    /// A stream begins at this position. Gives back whether all that was before it must be told of to Redis.
    pub fn stream_begins(&self, timeline: String, from: Lsn) -> bool {
        let mut known = self.lock();
        let is_first = !known.is_settled && !known.has_streamed;
        known.has_streamed = true;
        known.stream = Some(Stream {
            timeline,
            from,
            heard: Lsn(0),
        });
        !is_first
    }

    /// Everything up to here was heard, and is visible.
    pub fn heard(&self, position: Lsn) {
        if let Some(stream) = &mut self.lock().stream {
            stream.heard = stream.heard.max(position);
        }
    }

    /// The stream was lost.
    pub fn stream_ends(&self) {
        self.lock().stream = None;
    }

    /// Must Redis be told of a sum that was not known before?
    pub fn must_tell_sum(&self) -> bool {
        let known = self.lock();
        known.is_settled || known.sum.is_some()
    }

    /// The sum of rights and definitions, once all before it is told or needs not be.
    pub fn sum_is(&self, sum: &[u8]) {
        self.lock().sum = Some(sum.into());
    }

    /// May it still go on from others' marks?
    pub fn may_join(&self) -> bool {
        !self.lock().is_settled
    }

    /// From now on it may not.
    pub fn settle(&self) {
        self.lock().is_settled = true;
    }

    /// Is known by what another's mark is to be judged?
    pub(super) fn is_known(&self) -> bool {
        let known = self.lock();
        known.stream.is_some() && known.sum.is_some()
    }

    /// Has another told all that happened before this one's stream and sum?
    pub(super) fn is_reached_by(&self, told: &Told, seal: &Seal) -> bool {
        let known = self.lock();
        let (Some(stream), Some(sum)) = (&known.stream, &known.sum) else {
            return false;
        };
        stream.timeline == told.timeline && stream.from <= told.heard && seal.sum(sum) == told.sum
    }

    /// Up to where all has been heard of. INVARIANT: what is told to Redis later than this is taken has all of it.
    pub(super) fn now(&self) -> Option<Mark> {
        let known = self.lock();
        let (stream, sum) = (known.stream.as_ref()?, known.sum.as_ref()?);
        (stream.heard >= stream.from).then(|| Mark {
            timeline: stream.timeline.clone(),
            heard: stream.heard,
            sum: sum.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A mark as it is written, for this place alone, by whose tally is in this field.
pub(super) fn write(seal: &Seal, place: &str, mark: &Mark, (field, count): (&str, i64)) -> Vec<u8> {
    let sum = seal.sum(&mark.sum);
    let said = format!("{} {} {count} {field} {sum}", mark.timeline, mark.heard);
    let tag = seal.mark(place, &said);
    format!("{said} {tag}").into_bytes()
}

/// Reads one; `None`: it is none, or nobody's of ours.
pub(super) fn read(seal: &Seal, place: &str, written: &[u8]) -> Option<Told> {
    let written = std::str::from_utf8(written).ok()?;
    let (said, tag) = written.rsplit_once(' ')?;
    if seal.mark(place, said) != tag {
        return None;
    }
    let parts: Vec<&str> = said.split(' ').collect();
    let [timeline, heard, count, field, sum] = <[&str; 5]>::try_from(parts).ok()?;
    Some(Told {
        timeline: timeline.to_owned(),
        heard: Lsn::parse(heard.as_bytes())?,
        count: count.parse().ok()?,
        field: field.to_owned(),
        sum: sum.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(timeline: &str, heard: u64, sum: &str) -> Mark {
        Mark {
            timeline: timeline.to_owned(),
            heard: Lsn(heard),
            sum: sum.into(),
        }
    }

    fn heard(marks: &Marks, from: u64) {
        assert!(!marks.stream_begins("1".into(), Lsn(from)) && !marks.must_tell_sum());
        marks.sum_is(b"s");
    }

    #[test]
    fn only_who_has_told_all_before_is_believed() {
        let seal = Seal::new(b"secret");
        let marks = Marks::new(true);
        let told = |mark| read(&seal, "p", &write(&seal, "p", &mark, ("link:a", 7))).expect("a mark");
        assert!(
            !marks.is_reached_by(&told(mark("1", 100, "s")), &seal),
            "nothing is known"
        );
        heard(&marks, 100);
        for (other, is_believed) in [
            (mark("1", 100, "s"), true),
            (mark("1", 101, "s"), true),
            (mark("1", 99, "s"), false),
            (mark("2", 101, "s"), false),
            (mark("1", 101, "t"), false),
        ] {
            assert_eq!(
                marks.is_reached_by(&told(other.clone()), &seal),
                is_believed,
                "{other:?}"
            );
        }
        marks.stream_ends();
        assert!(!marks.is_reached_by(&told(mark("1", 101, "s")), &seal));
    }

    #[test]
    fn a_mark_is_read_with_its_secret_at_its_place_alone() {
        let seal = Seal::new(b"secret");
        let written = write(&seal, "p", &mark("1", 0x1_0000_0002, "s"), ("link:a", -7));
        let told = read(&seal, "p", &written).expect("a mark");
        assert_eq!(
            (told.count, told.field.as_str(), told.heard),
            (-7, "link:a", Lsn(0x1_0000_0002))
        );
        assert_eq!(read(&seal, "q", &written), None);
        assert_eq!(read(&Seal::new(b"other"), "p", &written), None);
        for cut in 0..written.len() {
            assert_eq!(read(&seal, "p", &written[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn who_begins_again_or_too_late_makes_all_old() {
        let marks = Marks::new(true);
        assert_eq!(marks.now(), None);
        heard(&marks, 100);
        assert_eq!(marks.now(), None, "nothing was heard yet");
        marks.heard(Lsn(99));
        assert_eq!(marks.now(), None);
        marks.heard(Lsn(120));
        assert_eq!(marks.now(), Some(mark("1", 120, "s")));
        marks.stream_ends();
        assert_eq!(marks.now(), None);
        assert!(marks.stream_begins("1".into(), Lsn(130)), "there is a gap");
        assert!(marks.must_tell_sum());
        for marks in [Marks::new(false), Marks::default()] {
            marks.settle();
            assert!(marks.stream_begins("1".into(), Lsn(1)) && marks.must_tell_sum());
        }
    }
}
