//! Writes a timeline in the Trace Event Format that Chrome and Perfetto read.

use super::clock::{Stamp, seconds};
use super::event::{Kind, RunNumber};
use super::recording::Recorded;
use super::timeline::{Slice, timeline};
use crate::graph::TaskId;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

/// What things are called.
pub trait Namer {
    /// A task.
    fn task(&self, run: RunNumber, task: TaskId) -> String;
    /// A group of tasks that do the same.
    fn group(&self, run: RunNumber, group: u32) -> String;
}

/// Writes `recorded` in about `budget` pieces, with arrows from a task to those that need
/// its result if there shall be `flows`. How many pieces were written, and how many
/// events are in pieces of several.
pub fn write_trace(
    to: &mut impl Write,
    recorded: &Recorded,
    namer: &impl Namer,
    budget: usize,
    flows: bool,
) -> io::Result<(usize, u64)> {
    let slices = timeline(recorded, budget);
    let merged = (slices.iter().filter(|s| s.count > 1))
        .map(|s| u64::from(s.count))
        .sum();
    let mut trace = Trace {
        to,
        begun: recorded.begun,
        first: true,
    };
    write!(trace.to, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    trace.names(recorded, &slices)?;
    for slice in &slices {
        trace.slice(slice, namer)?;
    }
    if flows {
        trace.flows(recorded, &slices)?;
    }
    write!(
        trace.to,
        "],\"otherData\":{{\"pieces\":{},\"tasks merged into others\":{merged},\
         \"tasks left out\":{}}}}}",
        slices.len(),
        recorded.dropped,
    )?;
    Ok((slices.len(), merged))
}

struct Trace<'w, W> {
    to: &'w mut W,
    begun: Stamp,
    first: bool,
}

impl<W: Write> Trace<'_, W> {
    fn event(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.first) {
            write!(self.to, ",")?;
        }
        writeln!(self.to)
    }

    fn names(&mut self, recorded: &Recorded, slices: &[Slice]) -> io::Result<()> {
        self.event()?;
        write!(
            self.to,
            r#"{{"ph":"M","name":"process_name","pid":1,"tid":0,"args":{{"name":"Dask on Mars"}}}}"#
        )?;
        let lanes: BTreeSet<u32> = slices.iter().map(|slice| slice.lane).collect();
        for (position, lane) in lanes.into_iter().enumerate() {
            let thread = recorded.threads.get(&lane).cloned().unwrap_or_default();
            let name = match thread.name.as_str() {
                "" => format!("thread {}", thread.thread),
                name => name.to_owned(),
            };
            self.event()?;
            write!(
                self.to,
                r#"{{"ph":"M","name":"thread_name","pid":1,"tid":{lane},"args":{{"name":{}}}}}"#,
                Text(&name)
            )?;
            self.event()?;
            write!(
                self.to,
                r#"{{"ph":"M","name":"thread_sort_index","pid":1,"tid":{lane},"args":{{"sort_index":{position}}}}}"#
            )?;
        }
        Ok(())
    }

    fn slice(&mut self, slice: &Slice, namer: &impl Namer) -> io::Result<()> {
        let name = match (slice.kind, slice.group) {
            (Kind::Attach, _) => "waits for the GIL".to_owned(),
            (Kind::MakeRoom, _) => "moves results to disk".to_owned(),
            (_, Some((run, group))) => namer.group(run, group),
            (_, None) => "tasks".to_owned(),
        };
        let category = if slice.kind.is_task() {
            "task"
        } else {
            "engine"
        };
        self.event()?;
        let (start, end) = (self.nanos(slice.start), self.nanos(slice.end));
        write!(
            self.to,
            r#"{{"ph":"X","pid":1,"tid":{},"ts":{},"dur":{},"cat":"{category}","name":"#,
            slice.lane,
            Micros(start),
            Micros(end - start)
        )?;
        if slice.count > 1 {
            let name = format!("{} × {name}", slice.count);
            return write!(
                self.to,
                r#"{},"args":{{"tasks":{}}}}}"#,
                Text(&name),
                slice.count
            );
        }
        write!(self.to, "{}", Text(&name))?;
        if slice.kind.is_task() {
            let key = namer.task(slice.run, slice.task);
            let outcome = super::outcome(slice.kind);
            write!(
                self.to,
                r#","args":{{"key":{},"computation":{},"outcome":"{outcome}""#,
                Text(&key),
                slice.run.0
            )?;
            if let Some(bytes) = slice.bytes {
                write!(self.to, r#","bytes":{bytes}"#)?;
            }
            write!(self.to, "}}")?;
        }
        write!(self.to, "}}")
    }

    /// An arrow for every dependency both ends of which are pieces of their own.
    fn flows(&mut self, recorded: &Recorded, slices: &[Slice]) -> io::Result<()> {
        let single = |slice: &&Slice| slice.count == 1 && slice.kind == Kind::Finished;
        let by_task: HashMap<_, _> = (slices.iter().filter(single))
            .map(|slice| ((slice.run, slice.task), slice))
            .collect();
        let mut id = 0u64;
        for reader in slices.iter().filter(single) {
            let description = recorded.runs.get(&reader.run).and_then(|r| r.description());
            let Some(description) = description else {
                continue;
            };
            for &dependency in description.graph.dependencies(reader.task) {
                let Some(maker) = by_task.get(&(reader.run, dependency)) else {
                    continue;
                };
                id += 1;
                let common = r#""cat":"dependency","name":"dependency","pid":1"#;
                // From the begin, which is in the piece however short that is.
                self.event()?;
                write!(
                    self.to,
                    r#"{{"ph":"s",{common},"id":{id},"tid":{},"ts":{}}}"#,
                    maker.lane,
                    Micros(self.nanos(maker.start))
                )?;
                self.event()?;
                write!(
                    self.to,
                    r#"{{"ph":"f","bp":"e",{common},"id":{id},"tid":{},"ts":{}}}"#,
                    reader.lane,
                    Micros(self.nanos(reader.start))
                )?;
            }
        }
        Ok(())
    }

    /// Nanoseconds since the begin: pieces that touch still do when they are rounded.
    fn nanos(&self, stamp: Stamp) -> u64 {
        (seconds(stamp.ticks_since(self.begun)) * 1e9).round() as u64
    }
}

/// Nanoseconds, written as microseconds.
struct Micros(u64);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// A text in quotes, as JSON has it.
struct Text<'t>(&'t str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write;
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if u32::from(c) < 0x20 => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted() {
        let quoted = Text("a \"b\" \\ \n é").to_string();
        assert_eq!(quoted, "\"a \\\"b\\\" \\\\ \\u000a é\"");
    }
}
