//! What is recorded of a task.

use super::clock::Stamp;
use crate::graph::TaskId;

/// The number of a run: 1, 2, 3, … in the order in which they began in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunNumber(pub u32);

/// What a thread has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It ran a task, which has a result now.
    Finished,
    /// It ran a task that failed.
    Failed,
    /// It ran a task whose result somebody else is going to deliver.
    Promised,
    /// It ran a task that came to nothing and will be run again.
    Again,
    /// It waited for the token (the lock of the interpreter).
    Attach,
    /// It moved results to disk.
    MakeRoom,
}

impl Kind {
    /// By their numbers.
    pub const ALL: [Kind; 6] = [
        Kind::Finished,
        Kind::Failed,
        Kind::Promised,
        Kind::Again,
        Kind::Attach,
        Kind::MakeRoom,
    ];

    /// Whether it is about a task.
    pub fn is_task(self) -> bool {
        !matches!(self, Kind::Attach | Kind::MakeRoom)
    }
}

/// What one thread did from one moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What it did.
    pub kind: Kind,
    /// For which run.
    pub run: RunNumber,
    /// The task, if it was one; else without meaning.
    pub task: TaskId,
    /// The lane of the thread.
    pub lane: u32,
    /// Whether the thread did it inside another task.
    pub nested: bool,
    /// From here.
    pub start: Stamp,
    /// To here.
    pub end: Stamp,
    /// Bytes of the output, if they are known.
    pub bytes: Option<u64>,
    /// Nanoseconds of CPU time of the thread, if they are known.
    pub cpu: Option<u64>,
}

impl Event {
    /// How long it took.
    pub fn ticks(&self) -> u64 {
        self.end.ticks_since(self.start)
    }
}

/// An event as it lies in a ring; the lane is the ring's.
pub(super) type Words = [u64; 5];

const NOT_KNOWN: u64 = u64::MAX;
const CPU_BITS: u32 = 48;
const CPU_NOT_KNOWN: u64 = (1 << CPU_BITS) - 1;
const NESTED: u64 = 1 << 8;

#[inline]
pub(super) fn encode(event: &Event) -> Words {
    let cpu = event
        .cpu
        .map_or(CPU_NOT_KNOWN, |cpu| cpu.min(CPU_NOT_KNOWN - 1));
    [
        u64::from(event.run.0) << 32 | event.task.index() as u64,
        event.start.0,
        event.end.0,
        event.bytes.unwrap_or(NOT_KNOWN),
        cpu << 16 | if event.nested { NESTED } else { 0 } | event.kind as u64,
    ]
}

pub(super) fn decode(words: Words, lane: u32) -> Event {
    let [of, start, end, bytes, rest] = words;
    let cpu = rest >> 16;
    Event {
        kind: Kind::ALL[(rest & 0xff) as usize % Kind::ALL.len()],
        run: RunNumber((of >> 32) as u32),
        task: TaskId::new((of as u32) as usize),
        lane,
        nested: rest & NESTED != 0,
        start: Stamp(start),
        end: Stamp(end),
        bytes: (bytes != NOT_KNOWN).then_some(bytes),
        cpu: (cpu != CPU_NOT_KNOWN).then_some(cpu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_out_of_the_ring_as_it_went_in() {
        for kind in Kind::ALL {
            for (bytes, cpu, nested) in [(None, None, false), (Some(0), Some(7), true)] {
                let event = Event {
                    kind,
                    run: RunNumber(u32::MAX),
                    task: TaskId::new(TaskId::MAX_TASKS - 1),
                    lane: 3,
                    nested,
                    start: Stamp(5),
                    end: Stamp(u64::MAX),
                    bytes,
                    cpu,
                };
                assert_eq!(decode(encode(&event), 3), event);
            }
        }
    }
}
