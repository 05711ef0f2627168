//! Counts of responses by status.
//!
//! A service answers with few different statuses. The first [`INLINE`] have their own slots; only a service with more
//! of them pays for tables of a hundred.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};

/// The number of statuses that are counted without a table.
const INLINE: usize = 5;

/// Responses by status.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    /// The status that each slot counts; 0 is free. Slots are assigned in order and never released, so two threads that
    /// look for the same status find the same slot.
    assigned: [AtomicU16; INLINE],
    counts: [AtomicU64; INLINE],
    tables: OnceLock<Box<Tables>>,
}

/// Counts of the statuses that arrived when every slot was assigned.
#[derive(Debug, Default)]
struct Tables {
    /// 1xx to 5xx, a hundred each.
    classes: [OnceLock<Box<[AtomicU64; 100]>>; 5],
    /// Numbers outside 100 to 599. They share a series, since the upstream chooses them.
    other: AtomicU64,
}

impl Statuses {
    /// Counts a response.
    pub(super) fn count(&self, status: u16) {
        self.counter(status).fetch_add(1, Relaxed);
    }

    fn counter(&self, status: u16) -> &AtomicU64 {
        if !(100..600).contains(&status) {
            return &self.tables().other;
        }
        for (assigned, count) in self.assigned.iter().zip(&self.counts) {
            let mut by = assigned.load(Relaxed);
            if by == 0 {
                by = match assigned.compare_exchange(0, status, Relaxed, Relaxed) {
                    Ok(_) => status,
                    Err(other) => other,
                };
            }
            if by == status {
                return count;
            }
        }
        let class = &self.tables().classes[usize::from(status / 100 - 1)];
        &class.get_or_init(|| Box::new(array::from_fn(|_| AtomicU64::new(0))))[usize::from(status % 100)]
    }

    fn tables(&self) -> &Tables {
        self.tables.get_or_init(Box::default)
    }

    /// Returns the statuses seen and their counts, in ascending order; `None` stands for all that are not HTTP
    /// statuses.
    pub(super) fn seen(&self) -> Vec<(Option<u16>, u64)> {
        let slots =
            self.assigned.iter().zip(&self.counts).map(|(assigned, count)| (assigned.load(Relaxed), count));
        let tables = self.tables.get();
        let classes = tables.into_iter().flat_map(|tables| (1u16..).zip(&tables.classes));
        let classes = classes.flat_map(|(class, counts)| {
            counts.get().into_iter().flat_map(move |counts| (class * 100..).zip(counts.iter()))
        });
        let mut seen: Vec<(Option<u16>, u64)> = slots
            .chain(classes)
            .map(|(status, count)| (Some(status), count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        seen.sort_unstable_by_key(|(status, _)| *status);
        let other = tables.map_or(0, |tables| tables.other.load(Relaxed));
        seen.extend((other > 0).then_some((None, other)));
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_common_statuses_need_no_table() {
        let statuses = Statuses::default();
        for status in [200, 404, 500, 200, 503, 304] {
            statuses.count(status);
        }
        assert!(statuses.tables.get().is_none());
        statuses.count(201);
        assert!(statuses.tables.get().is_some());
        assert_eq!(statuses.seen().len(), 6);
        assert_eq!(statuses.seen()[..2], [(Some(200), 2), (Some(201), 1)]);
    }

    #[test]
    fn threads_that_count_a_new_status_concurrently_share_its_slot() {
        let statuses = Statuses::default();
        std::thread::scope(|scope| {
            for thread in 0..4u16 {
                let statuses = &statuses;
                scope.spawn(move || (0..1000u16).for_each(|n| statuses.count(200 + (n + thread) % 10)));
            }
        });
        assert_eq!(statuses.seen(), (200..210).map(|status| (Some(status), 400)).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn every_status_is_counted_once(all in prop::collection::vec(prop_oneof![90..620u16, any::<u16>()], 0..60)) {
            let (statuses, mut expected) = (Statuses::default(), BTreeMap::new());
            for status in all {
                statuses.count(status);
                *expected.entry(Some(status).filter(|s| (100..600).contains(s))).or_insert(0u64) += 1;
            }
            let other = expected.remove(&None);
            let expected = expected.into_iter().chain(other.map(|count| (None, count)));
            prop_assert_eq!(statuses.seen(), expected.collect::<Vec<_>>());
        }
    }
}
