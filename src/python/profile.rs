//! A recording, as Python reads it.

use super::groups::groups_of;
use super::runner::PythonRunner;
use super::threads::Inside;
use super::watch;
use crate::events::{
    self, Description, Event, Kind, Namer, Recorded, Recording, RunNumber, RunRecord, Slice, Stamp,
    Watched, seconds,
};
use crate::executor::Run;
use crate::graph::TaskId;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The name of tasks of runs of which nothing is known.
const UNKNOWN: &str = "(unknown)";
/// Whoever waits for the GIL longer than this waits for somebody.
const HELD: f64 = 50e-6;

/// What the tasks of a run are called.
pub(super) struct Labels {
    keys: Arc<Vec<Py<PyAny>>>,
    /// Of the objects, which have no keys.
    names: HashMap<TaskId, String>,
}

/// Remembers what the tasks of `run` are, for as long as somebody has its record.
pub(super) fn describe(py: Python<'_>, run: &Run<PythonRunner>) {
    let runner = run.runner();
    if run.record().description().is_some() {
        return;
    }
    let mut names = HashMap::new();
    if let Some(remote) = runner.remote() {
        for task in (0..runner.keys().len()).map(TaskId::new) {
            if let Some(object) = remote.object(py, task) {
                names.insert(task, object.get().name(py));
            }
        }
    }
    let description = Description {
        groups: groups_of(py, runner.keys(), runner.remote()),
        graph: run.graph(),
        labels: Arc::new(Labels {
            keys: runner.keys().clone(),
            names,
        }),
    };
    run.record().describe(|| description);
}

fn labels(record: &RunRecord) -> Option<&Labels> {
    record.description()?.labels.downcast_ref()
}

/// Records every task of the process from its making until it is stopped.
#[pyclass(frozen, module = "mars._mars")]
pub(super) struct Profile {
    recording: Recording,
    began: f64,
    samples: Mutex<Samples>,
}

/// What ran at one moment, by run and group; how often somebody held the GIL then, and
/// how often nobody.
type Samples = BTreeMap<Vec<(RunNumber, u32)>, (u64, u64)>;

/// What tasks of one prefix have taken.
#[pyclass(frozen, get_all, module = "mars._mars")]
#[derive(Default)]
pub(super) struct PrefixTotals {
    prefix: String,
    count: u64,
    failed: u64,
    seconds: f64,
    longest: f64,
    cpu: f64,
    queued: f64,
    bytes: u64,
    sized: u64,
    nested: bool,
}

#[pymethods]
impl Profile {
    #[new]
    fn new(py: Python<'_>, max_events: usize) -> PyResult<Self> {
        let began = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let recording = Inside::enter(py)?.outside(py, || Recording::begin(max_events));
        for run in watch::live() {
            describe(py, &run);
        }
        Ok(Profile {
            recording,
            began: began.as_secs_f64(),
            samples: Mutex::default(),
        })
    }

    /// Ends the recording; doing so again changes nothing.
    fn stop(&self) {
        self.recording.stop();
    }

    /// Seconds since the epoch when it began.
    #[getter]
    fn began(&self) -> f64 {
        self.began
    }

    /// Seconds recorded.
    #[getter]
    fn seconds(&self) -> f64 {
        self.recording.look(|recorded| {
            let end = recorded.ended.unwrap_or_else(Stamp::now);
            end.seconds_since(recorded.begun)
        })
    }

    /// Tasks in the timeline.
    #[getter]
    fn event_count(&self) -> usize {
        self.recording.look(|recorded| tasks(recorded).count())
    }

    /// Tasks that are in the totals and not in the timeline, where there were too many.
    #[getter]
    fn dropped(&self) -> u64 {
        self.recording.look(|recorded| recorded.dropped)
    }

    /// Tasks shorter than so many seconds may be missing from the timeline.
    #[getter]
    fn dropped_below(&self) -> f64 {
        seconds(self.recording.look(|recorded| recorded.dropped_below))
    }

    /// Totals by prefix, in the order in which the prefixes were first met.
    fn prefixes(&self) -> Vec<PrefixTotals> {
        self.recording.look(|recorded| {
            let mut groups: Vec<_> = recorded.totals.iter().collect();
            groups.sort_unstable_by_key(|(key, _)| **key);
            let names = Names::of(recorded);
            let mut totals: Vec<PrefixTotals> = (names.all.iter())
                .map(|name| PrefixTotals {
                    prefix: name.clone(),
                    ..PrefixTotals::default()
                })
                .collect();
            for (&(run, group), total) in groups {
                let sum = &mut totals[names.number(run, group)];
                sum.count += total.count;
                sum.failed += total.failed;
                sum.seconds += seconds(total.ticks);
                sum.longest = sum.longest.max(seconds(total.longest));
                sum.cpu += total.cpu as f64 * 1e-9;
                sum.bytes += total.bytes;
                sum.sized += total.sized;
                sum.nested |= recorded.runs.get(&run).is_some_and(|r| r.outer.is_some());
            }
            let queues = Queues::of(recorded);
            for event in tasks(recorded) {
                let name = names.number(event.run, group_of(recorded, event));
                totals[name].queued += event.start.seconds_since(queues.since(event));
            }
            totals.retain(|total| total.count > 0);
            totals
        })
    }

    /// The computations: number, that around it, begin and length in seconds, tasks, finished
    /// tasks, workers.
    #[expect(clippy::type_complexity, reason = "a row of a table")]
    fn computations(&self) -> Vec<(u32, Option<u32>, f64, f64, usize, usize, usize)> {
        let live: HashMap<_, _> = (watch::live().iter())
            .map(|run| (run.record().number, run.standing().finished))
            .collect();
        self.recording.look(|recorded| {
            (recorded.runs.values())
                .map(|run| {
                    let end = recorded.end_of(run).unwrap_or_else(Stamp::now);
                    let finished = live.get(&run.number).copied();
                    let finished = finished.unwrap_or_else(|| run.finished());
                    let outer = run.outer.map(|outer| outer.0);
                    let begun = run.begun.seconds_since(recorded.begun);
                    let length = end.seconds_since(run.begun);
                    (
                        run.number.0,
                        outer,
                        begun,
                        length,
                        run.total,
                        finished,
                        run.limit,
                    )
                })
                .collect()
        })
    }

    /// Seconds of workers' time in outermost computations, by what became of it.
    fn workers_time<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut sums = [0.0; 7]; // total, and what of it is told below
        self.recording.look(|recorded| {
            let outermost = (recorded.runs.values())
                // What happened in it before the recording is not known.
                .filter(|run| run.outer.is_none() && run.begun >= recorded.begun);
            for run in outermost {
                let end = recorded.end_of(run).unwrap_or_else(Stamp::now);
                sums[0] += run.limit as f64 * end.seconds_since(run.begun);
                for (sum, ticks) in sums[2..].iter_mut().zip(recorded.places_of(run)) {
                    *sum += seconds(ticks);
                }
            }
            for ((run, _), total) in &recorded.totals {
                let run = recorded.runs.get(run);
                if run.is_some_and(|run| run.outer.is_none() && run.begun >= recorded.begun) {
                    sums[1] += seconds(total.ticks);
                }
            }
        });
        let [total, told @ ..] = sums;
        let names = [
            "tasks",
            "no ready task",
            "memory limit",
            "moving results",
            "GIL",
            "releasing results",
        ];
        let dict = PyDict::new(py);
        dict.set_item("total", total)?;
        for (name, sum) in names.iter().zip(told) {
            dict.set_item(name, sum)?;
        }
        dict.set_item("engine", (total - told.iter().sum::<f64>()).max(0.0))?;
        Ok(dict)
    }

    /// The threads: lane, name, number, busy seconds.
    fn threads(&self) -> Vec<(u32, String, u64, f64)> {
        self.recording.look(|recorded| {
            (recorded.threads.iter())
                .map(|(&lane, t)| (lane, t.name.clone(), t.thread, seconds(t.busy)))
                .collect()
        })
    }

    /// The timeline as columns, one entry a task.
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let columns = self.recording.look(|recorded| {
            let mut events: Vec<&Event> = tasks(recorded).collect();
            events.sort_unstable_by_key(|event| (event.start, event.lane));
            let names = Names::of(recorded);
            let queues = Queues::of(recorded);
            let mut columns = Columns::default();
            let since = |stamp: Stamp| stamp.seconds_since(recorded.begun);
            columns.add("computation", &events, |e| e.run.0.to_ne_bytes());
            columns.add("task", &events, |e| (e.task.index() as u32).to_ne_bytes());
            columns.add("lane", &events, |e| e.lane.to_ne_bytes());
            columns.add("group", &events, |e| {
                (names.number(e.run, group_of(recorded, e)) as u32).to_ne_bytes()
            });
            columns.add("queued", &events, |e| since(queues.since(e)).to_ne_bytes());
            columns.add("start", &events, |e| since(e.start).to_ne_bytes());
            columns.add("end", &events, |e| since(e.end).to_ne_bytes());
            columns.add("cpu", &events, |e| {
                e.cpu
                    .map_or(f64::NAN, |cpu| cpu as f64 * 1e-9)
                    .to_ne_bytes()
            });
            columns.add("bytes", &events, |e| {
                e.bytes.map_or(-1, |bytes| bytes as i64).to_ne_bytes()
            });
            columns.add("outcome", &events, |e| [e.kind as u8]);
            columns
        });
        columns.into_dict(py)
    }

    /// How it can go with a task, by the numbers in the column "outcome".
    #[getter]
    fn outcomes(&self) -> (&str, &str, &str, &str) {
        let name = |i: usize| events::outcome(Kind::ALL[i]);
        (name(0), name(1), name(2), name(3))
    }

    /// The prefixes, by the numbers in the column "group".
    fn group_names(&self) -> Vec<String> {
        self.recording.look(|recorded| Names::of(recorded).all)
    }

    /// The keys of the tasks of a computation; names for objects of mars.remote.
    fn keys<'py>(&self, py: Python<'py>, computation: u32) -> PyResult<Bound<'py, PyList>> {
        let record = self.record(RunNumber(computation));
        let labels = (record.as_deref())
            .and_then(labels)
            .ok_or_else(|| PyKeyError::new_err(computation))?;
        let keys = PyList::new(py, labels.keys.iter())?;
        for (task, name) in &labels.names {
            keys.set_item(task.index(), name)?;
        }
        Ok(keys)
    }

    /// The timeline as columns, in about `budget` pieces: see `mars.events`.
    fn slices<'py>(&self, py: Python<'py>, budget: usize) -> PyResult<Bound<'py, PyDict>> {
        let columns = self.recording.look(|recorded| {
            let slices = events::timeline(recorded, budget);
            let names = Names::of(recorded);
            let mut columns = Columns::default();
            let since = |stamp: Stamp| stamp.seconds_since(recorded.begun);
            columns.add("lane", &slices, |s: &Slice| s.lane.to_ne_bytes());
            columns.add("start", &slices, |s| since(s.start).to_ne_bytes());
            columns.add("end", &slices, |s| since(s.end).to_ne_bytes());
            columns.add("group", &slices, |s| {
                let group = s.group.map(|(run, group)| names.number(run, group) as u32);
                group.unwrap_or(u32::MAX).to_ne_bytes()
            });
            columns.add("count", &slices, |s| s.count.to_ne_bytes());
            columns.add("computation", &slices, |s| s.run.0.to_ne_bytes());
            columns.add("task", &slices, |s| (s.task.index() as u32).to_ne_bytes());
            columns.add("kind", &slices, |s| {
                [match s.kind {
                    Kind::Attach => 1,
                    Kind::MakeRoom => 2,
                    _ => 0,
                }]
            });
            columns.add("outcome", &slices, |s| {
                [if s.kind.is_task() { s.kind as u8 } else { 0 }]
            });
            columns.add("bytes", &slices, |s| {
                s.bytes.map_or(-1, |bytes| bytes as i64).to_ne_bytes()
            });
            columns
        });
        columns.into_dict(py)
    }

    /// Writes a trace for Chrome and Perfetto: see `mars.events`.
    fn write_trace(
        &self,
        py: Python<'_>,
        path: PathBuf,
        budget: usize,
        flows: bool,
    ) -> PyResult<(usize, u64)> {
        let mut file = BufWriter::new(File::create(path)?);
        // A copy: names are made in Python, which no lock of ours may wait for.
        let recorded = self.recording.look(Recorded::clone);
        let namer = PythonNames {
            py,
            recorded: &recorded,
        };
        let written = events::write_trace(&mut file, &recorded, &namer, budget, flows)?;
        file.flush()?;
        Ok(written)
    }

    /// Waits `seconds` and then sees how long it takes to get the GIL, and what runs meanwhile.
    fn probe(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let (asked, running) = Inside::enter(py)?.outside(py, || {
            std::thread::sleep(pause);
            let running: Vec<_> = (events::lanes().iter())
                .filter_map(|lane| lane.doing().pop())
                .filter_map(|doing| Some((doing.run, doing.task?)))
                .collect();
            (Stamp::now(), running)
        });
        let held = Stamp::now().seconds_since(asked) >= HELD;
        if running.is_empty() {
            return Ok(());
        }
        let mut what = self.recording.look(|recorded| {
            let group = |(run, task)| (run, group_in(recorded, run, task));
            running.into_iter().map(group).collect::<Vec<_>>()
        });
        what.sort_unstable();
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, busy) = samples.entry(what).or_default();
        *(if held { busy } else { free }) += 1;
        Ok(())
    }

    /// What ran at the same time, how often the GIL was free then, and how often it was held.
    fn gil_samples(&self) -> Vec<(Vec<String>, u64, u64)> {
        let samples = (self.samples.lock().unwrap_or_else(PoisonError::into_inner)).clone();
        self.recording.look(|recorded| {
            let names = Names::of(recorded);
            let mut by_name: BTreeMap<Vec<String>, (u64, u64)> = BTreeMap::new();
            for (what, (free, held)) in samples {
                let name =
                    |(run, group): (RunNumber, u32)| names.all[names.number(run, group)].clone();
                let mut what: Vec<_> = what.into_iter().map(name).collect();
                what.sort_unstable();
                let sum = by_name.entry(what).or_default();
                *sum = (sum.0 + free, sum.1 + held);
            }
            by_name
                .into_iter()
                .map(|(what, (free, held))| (what, free, held))
                .collect()
        })
    }
}

impl Profile {
    fn record(&self, run: RunNumber) -> Option<Arc<RunRecord>> {
        self.recording
            .look(|recorded| recorded.runs.get(&run).cloned())
    }
}

fn tasks(recorded: &Recorded) -> impl Iterator<Item = &Event> {
    recorded.events.iter().filter(|event| event.kind.is_task())
}

fn group_of(recorded: &Recorded, event: &Event) -> u32 {
    group_in(recorded, event.run, event.task)
}

fn group_in(recorded: &Recorded, run: RunNumber, task: TaskId) -> u32 {
    let description = recorded.runs.get(&run).and_then(|run| run.description());
    let group = description.and_then(|d| d.groups.of.get(task.index()));
    group.copied().unwrap_or(u32::MAX)
}

/// The prefixes of all runs, each once.
struct Names {
    all: Vec<String>,
    of: HashMap<(RunNumber, u32), usize>,
}

impl Names {
    fn of(recorded: &Recorded) -> Self {
        let mut names = Names {
            all: vec![UNKNOWN.to_owned()],
            of: HashMap::new(),
        };
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for (&run, record) in &recorded.runs {
            let prefixes = record.description().map_or(&[][..], |d| &d.groups.prefixes);
            for (group, prefix) in prefixes.iter().enumerate() {
                let number = *numbers.entry(prefix).or_insert_with(|| {
                    names.all.push(prefix.clone());
                    names.all.len() - 1
                });
                names.of.insert((run, group as u32), number);
            }
        }
        names
    }

    fn number(&self, run: RunNumber, group: u32) -> usize {
        self.of.get(&(run, group)).copied().unwrap_or(0)
    }
}

/// Since when tasks were ready: since the last of their dependencies had ended.
struct Queues(HashMap<RunNumber, Queue>);

struct Queue {
    begun: Stamp,
    /// When each task was ready.
    ready: Vec<Stamp>,
}

impl Queues {
    fn of(recorded: &Recorded) -> Self {
        let mut queues = HashMap::new();
        for (&number, run) in &recorded.runs {
            if let Some(description) = run.description() {
                let begun = run.begun.max(recorded.begun);
                let ready = vec![begun; description.graph.len()];
                queues.insert(number, Queue { begun, ready });
            }
        }
        for event in tasks(recorded).filter(|event| event.kind == Kind::Finished) {
            let description = recorded
                .runs
                .get(&event.run)
                .and_then(|run| run.description());
            let (Some(description), Some(queue)) = (description, queues.get_mut(&event.run)) else {
                continue;
            };
            for dependent in description.graph.dependents(event.task) {
                let ready = &mut queue.ready[dependent.index()];
                *ready = event.end.max(*ready);
            }
        }
        Queues(queues)
    }

    fn since(&self, event: &Event) -> Stamp {
        let queue = self.0.get(&event.run);
        let ready = queue.map(|q| q.ready.get(event.task.index()).copied().unwrap_or(q.begun));
        ready.unwrap_or(event.start).min(event.start)
    }
}

/// What a trace calls things.
struct PythonNames<'a, 'py> {
    py: Python<'py>,
    recorded: &'a Recorded,
}

impl Namer for PythonNames<'_, '_> {
    fn task(&self, run: RunNumber, task: TaskId) -> String {
        let labels = self.recorded.runs.get(&run).and_then(|run| labels(run));
        let Some(labels) = labels else {
            return UNKNOWN.to_owned();
        };
        match labels.names.get(&task) {
            Some(name) => name.clone(),
            None => super::errors::shown(labels.keys[task.index()].bind(self.py)),
        }
    }

    fn group(&self, run: RunNumber, group: u32) -> String {
        let description = self
            .recorded
            .runs
            .get(&run)
            .and_then(|run| run.description());
        let prefix = description.and_then(|d| d.groups.prefixes.get(group as usize));
        prefix.map_or(UNKNOWN, String::as_str).to_owned()
    }
}

/// Native arrays by name.
#[derive(Default)]
struct Columns(Vec<(&'static str, Vec<u8>)>);

impl Columns {
    fn add<T, const N: usize>(
        &mut self,
        name: &'static str,
        rows: &[T],
        bytes: impl Fn(&T) -> [u8; N],
    ) {
        self.0.push((name, rows.iter().flat_map(bytes).collect()));
    }

    fn into_dict(self, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let dict = PyDict::new(py);
        for (name, bytes) in self.0 {
            dict.set_item(name, PyBytes::new(py, &bytes))?;
        }
        Ok(dict)
    }
}
