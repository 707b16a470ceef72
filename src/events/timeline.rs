//! A recording in as many pieces as somebody can look at.
//!
//! What is long stays a piece of its own. Short tasks that follow each other in a lane
//! become one piece, which says how many they are; what is short and no task is left out.

use super::clock::Stamp;
use super::event::{Event, Kind, RunNumber};
use super::recording::Recorded;
use crate::graph::TaskId;
use std::cmp::Reverse;

/// A piece of the timeline of one lane: one event, or several short ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The lane.
    pub lane: u32,
    /// From here.
    pub start: Stamp,
    /// To here.
    pub end: Stamp,
    /// Tasks in it, or 1 of something else.
    pub count: u32,
    /// What it is; of several tasks, the first one.
    pub kind: Kind,
    /// The run; of several that of the first one.
    pub run: RunNumber,
    /// The task, if it is one.
    pub task: TaskId,
    /// Of which group; None for several of different ones and for those of no known group.
    pub group: Option<(RunNumber, u32)>,
    /// Bytes of the output of a single task, if they are known.
    pub bytes: Option<u64>,
}

/// The timeline of `recorded`, in the order of lanes and begins, in about `budget` pieces
/// if there are more events than that. The pieces of a lane lie beside or inside
/// each other.
pub fn timeline(recorded: &Recorded, budget: usize) -> Vec<Slice> {
    let mut events = recorded.events.clone();
    events.sort_unstable_by_key(|e| (e.lane, e.start, Reverse(e.end)));
    let mut slices = Vec::with_capacity(events.len().min(2 * budget));
    if events.len() <= budget {
        slices.extend(events.iter().map(|event| slice(recorded, event)));
        return slices;
    }
    let long = least_of_longest(&events, budget / 2);
    let width = bucket(&events, budget / 2);
    let mut rest = events.as_slice();
    while let Some(first) = rest.first() {
        let len = rest.partition_point(|event| event.lane == first.lane);
        let (lane, others) = rest.split_at(len);
        merge_lane(recorded, lane, long, width, &mut slices);
        rest = others;
    }
    slices
}

/// So long an event has to be to be one of the `count` longest ones.
fn least_of_longest(events: &[Event], count: usize) -> u64 {
    let mut ticks: Vec<u64> = events.iter().map(Event::ticks).collect();
    let position = ticks.len().saturating_sub(count.max(1));
    let (_, least, _) = ticks.select_nth_unstable(position);
    *least + 1 // of equally long ones there may be more than that
}

/// So many ticks are put together, for about `count` pieces in all lanes.
fn bucket(events: &[Event], count: usize) -> u64 {
    let first = events.iter().map(|e| e.start.0).min().unwrap_or(0);
    let last = events.iter().map(|e| e.end.0).max().unwrap_or(0);
    let mut lanes: Vec<u32> = events.iter().map(|e| e.lane).collect();
    lanes.dedup();
    let span = (last - first).saturating_mul(lanes.len() as u64);
    span / (count.max(1) as u64) + 1
}

fn merge_lane(recorded: &Recorded, events: &[Event], long: u64, width: u64, out: &mut Vec<Slice>) {
    // The long ones around the present moment, the innermost last.
    let mut around: Vec<Stamp> = Vec::new();
    // Where the piece is that short ones are added to.
    let mut open: Option<usize> = None;
    for event in events {
        while around.last().is_some_and(|end| *end <= event.start) {
            around.pop();
            open = None;
        }
        let here = slice(recorded, event);
        if event.ticks() >= long {
            out.push(here);
            around.push(event.end);
            open = None;
            continue;
        }
        if !event.kind.is_task() {
            continue;
        }
        match open.map(|i| &mut out[i]) {
            // One inside a short one has no piece of its own.
            Some(piece)
                if event.start < piece.end || piece.start.0 / width == event.start.0 / width =>
            {
                piece.end = piece.end.max(event.end);
                piece.count += 1;
                piece.bytes = None;
                if !same_prefix(recorded, piece.group, here.group) {
                    piece.group = None;
                }
            }
            _ => {
                open = Some(out.len());
                out.push(here);
            }
        }
    }
}

/// Whether tasks of two groups, of the same or of different runs, are called the same.
fn same_prefix(
    recorded: &Recorded,
    one: Option<(RunNumber, u32)>,
    other: Option<(RunNumber, u32)>,
) -> bool {
    let prefix = |(run, group): (RunNumber, u32)| {
        let description = recorded.runs.get(&run)?.description()?;
        description.groups.prefixes.get(group as usize)
    };
    one == other
        || one
            .and_then(prefix)
            .is_some_and(|one| Some(one) == other.and_then(prefix))
}

fn slice(recorded: &Recorded, event: &Event) -> Slice {
    let group = (recorded.runs.get(&event.run))
        .filter(|_| event.kind.is_task())
        .and_then(|record| record.description())
        .and_then(|d| d.groups.of.get(event.task.index()));
    Slice {
        lane: event.lane,
        start: event.start,
        end: event.end,
        count: 1,
        kind: event.kind,
        run: event.run,
        task: event.task,
        group: group.map(|&group| (event.run, group)),
        bytes: event.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(lane: u32, start: u64, end: u64) -> Event {
        Event {
            kind: Kind::Finished,
            run: RunNumber(1),
            task: TaskId::new(start as usize),
            lane,
            nested: false,
            start: Stamp(start),
            end: Stamp(end),
            bytes: None,
            cpu: None,
        }
    }

    fn recorded(events: Vec<Event>) -> Recorded {
        Recorded {
            events,
            ..Recorded::default()
        }
    }

    #[test]
    fn few_events_stay_as_they_are() {
        let slices = timeline(
            &recorded(vec![event(1, 5, 9), event(0, 3, 4), event(0, 1, 7)]),
            3,
        );
        let seen: Vec<_> = slices
            .iter()
            .map(|s| (s.lane, s.start.0, s.end.0, s.count))
            .collect();
        assert_eq!(seen, [(0, 1, 7, 1), (0, 3, 4, 1), (1, 5, 9, 1)]);
    }

    #[test]
    fn short_ones_become_one_piece_and_long_ones_stay() {
        let mut events: Vec<_> = (0..1000).map(|i| event(0, i, i + 1)).collect();
        events.push(event(0, 1000, 5000));
        events.extend((5000..6000).map(|i| event(0, i, i + 1)));
        let slices = timeline(&recorded(events), 20);
        assert!(slices.len() <= 40, "{}", slices.len());
        assert_eq!(slices.iter().map(|s| s.count).sum::<u32>(), 2001);
        let long: Vec<_> = slices
            .iter()
            .filter(|s| s.end.0 - s.start.0 >= 4000)
            .collect();
        assert_eq!(long.len(), 1);
        assert_eq!(
            (long[0].start.0, long[0].end.0, long[0].count),
            (1000, 5000, 1)
        );
    }

    /// Intervals of one thread: each beside or inside the others.
    fn nested(from: u64, to: u64, cuts: &mut impl Iterator<Item = u64>, out: &mut Vec<Event>) {
        let mut at = from;
        while at < to {
            let Some(cut) = cuts.next() else { return };
            let end = at + 1 + cut % (to - at);
            out.push(event(cut as u32 % 2, at, end));
            if cut % 3 == 0 && end - at > 2 {
                let lane = cut as u32 % 2;
                let mut inner = Vec::new();
                nested(at + 1, end - 1, cuts, &mut inner);
                inner.iter_mut().for_each(|e| e.lane = lane);
                out.extend(inner);
            }
            at = end + cut % 2;
        }
    }

    proptest! {
        #[test]
        fn every_event_is_in_a_piece_and_pieces_nest(
            cuts in prop::collection::vec(any::<u32>(), 1..400), budget in 1usize..100,
        ) {
            let mut events = Vec::new();
            nested(0, 100_000, &mut cuts.into_iter().map(u64::from), &mut events);
            let count = events.len();
            let slices = timeline(&recorded(events), budget);
            prop_assert_eq!(slices.iter().map(|s| s.count as usize).sum::<usize>(), count);
            for lane in 0..2 {
                let mut around: Vec<u64> = Vec::new();
                for s in slices.iter().filter(|s| s.lane == lane) {
                    while around.last().is_some_and(|end| *end <= s.start.0) {
                        around.pop();
                    }
                    prop_assert!(around.last().is_none_or(|end| *end >= s.end.0));
                    around.push(s.end.0);
                }
            }
        }
    }
}
